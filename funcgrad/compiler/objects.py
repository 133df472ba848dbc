"""Object files: which symbols they need, because linking one that nothing resolves would end the process.

In: the bytes of an object file. Out: names. Functions of SciPy are symbols too, which the linker is told when first needed.

    unresolved(code)    ->    ["__truncsfhf2"]
"""
from __future__ import annotations

import ctypes
import functools
import re
import struct
from collections.abc import Iterator

from funcgrad.compiler.library import SCIPY

ELF = b"\x7fELF\x02\x01"
"""How a little-endian object file of 64 bits begins; others are not looked into."""
SYMBOL_TABLE = 2


def undefined(code: bytes) -> Iterator[str]:
    """The symbols that an ELF object refers to and does not define.

    The layout is that of the System V ABI (https://refspecs.linuxfoundation.org/elf/elf.pdf), chapter 1.
    """
    if not code.startswith(ELF):
        return
    table, = struct.unpack_from("<Q", code, 0x28)
    size, count = struct.unpack_from("<HH", code, 0x3A)
    for i in range(count):
        _, kind, _, _, start, length, link = struct.unpack_from("<IIQQQQI", code, table + i * size)
        if kind != SYMBOL_TABLE:
            continue
        names, = struct.unpack_from("<Q", code, table + link * size + 0x18)
        for name, _, _, section, _, _ in struct.iter_unpack("<IBBHQQ", code[start:start + length]):
            if name and not section:
                yield code[names + name:code.index(b"\0", names + name)].decode()


def unresolved(code: bytes) -> list[str]:
    """The undefined symbols that neither the process nor what was added to the linker has."""
    from llvmlite.binding import address_of_symbol
    return [name for name in undefined(code) if address_of_symbol(name) is None]


SCIPY_SYMBOL = "funcgrad_scipy_"
"""How the symbols of functions of SciPy begin."""


def provide(code: bytes) -> None:
    """Tells the linker the addresses of the functions of SciPy that an object file refers to."""
    for name in set(re.findall(SCIPY_SYMBOL.encode() + rb"(\w+)", code)):
        scipy_symbol(name.decode())


@functools.cache
def scipy_symbol(name: str) -> str:
    """The symbol of a function of SciPy, once the linker knows its address, if there is one."""
    from llvmlite.binding import add_symbol
    place = scipy_address(name)
    if place:
        add_symbol(SCIPY_SYMBOL + name, place)
    return SCIPY_SYMBOL + name


def scipy_address(name: str) -> int:
    """The address of a function of float64 in SciPy's binary interface for Cython, or 0.

    Its last argument is an int, to be 0. A function of several types is there under several names.
    """
    from scipy.special import cython_special
    count = next((n for names, n in SCIPY.items() if name in names.split()), 0)
    signature = f"double ({'double, ' * count}int __pyx_skip_dispatch)".encode()
    get_name, get_pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    for key, capsule in cython_special.__pyx_capi__.items():
        if re.fullmatch(rf"(__pyx_fuse_\d+)?{name}", key) and get_name(capsule) == signature:
            return get_pointer(capsule, signature) or 0
    return 0
