"""Object files: which symbols they need, because linking one that nothing resolves would end the process.

In: the bytes of an object file. Out: names.

    unresolved(code)    ->    ["__truncsfhf2"]
"""
from __future__ import annotations

import struct
from collections.abc import Iterator

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
