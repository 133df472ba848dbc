"""What a jitted function keeps for each signature, and how a call finds it.

In: flat arguments. Out: a ``Program``, staged and, once it has run outside of transformations, compiled. Most calls are like
one before: their structure is taken apart by code made for it, and types are compared by identity.
"""
from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from funcgrad import compiler
from funcgrad.compiler.entry import call_for
from funcgrad.core import device as devices
from funcgrad.core.array import Array, CudaArray, DeviceArray, on_device
from funcgrad.core.device import Device
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.dtypes import PYTHON_SCALARS, is_supported
from funcgrad.errors import DeviceError, message
from funcgrad.transforms.derivatives import quiet
from funcgrad.tree import LEAF, tree_structure
from funcgrad.tree_code import joiner, splitter

CACHE_SIZE = 4096
"""Traces kept by one jitted function; the least recently used goes first."""
MOST_NAMED = 8
"""Arguments on another device that an error names."""


class Program:
    """A function staged for one signature, and what is made when it is first run outside transformations: its executables,
    which arguments are results too, and the function from flat results to their tree.

    ``device`` is the one that the user chose for the function, None for where its arguments are.
    """

    __slots__ = ("jaxpr", "captured", "out_tree", "device", "donated", "executable", "on_gpus", "returned", "join", "_call",
                 "_avals", "_on_gpu")

    def __init__(self, jaxpr: Jaxpr, captured: list[Any], out_tree: Any, device: Device | None = None):
        self.jaxpr, self.captured, self.out_tree, self.device = jaxpr, captured, out_tree, device
        self.donated: Sequence[int] = ()
        self.executable: compiler.Executable | None = None
        self.on_gpus: dict[int, Any] = {}
        """The executables for GPUs, by their numbers."""
        self.returned: frozenset[int] = frozenset()
        self._call: Callable | None = None
        self._avals: list[ShapedArray] = []
        self._on_gpu: dict[int, tuple[Sequence[ShapedArray], Callable]] = {}

    def compile(self) -> compiler.Executable:
        with quiet():
            executable = self.executable = compiler.executable(self.jaxpr, self.donated)
        self.returned = returned(executable)
        self.join = itemgetter(0) if self.out_tree is LEAF else joiner(self.out_tree)
        return executable

    def compile_for(self, device: Device) -> Any:
        """The same for a GPU."""
        with quiet():
            executable = self.on_gpus[device.id] = compiler.executable(self.jaxpr, self.donated, device)
        self.join = itemgetter(0) if self.out_tree is LEAF else joiner(self.out_tree)
        return executable

    def call(self, known: Known, leaves: Sequence[DeviceArray]) -> Callable:
        """The shortest way to call it again with arguments like these: a function of (args, kwargs) that may return None."""
        avals = [x.aval for x in leaves]
        if self._call is None or any(map(operator.is_not, avals, self._avals)):
            executable = self.executable or self.compile()
            self._avals = avals
            self._call = call_for(executable, avals, None if known.flat >= 0 else known.split,
                                  None if self.out_tree is LEAF else self.join) or never
        return self._call

    def run(self, leaves: Sequence[DeviceArray], borrowed: Sequence[int], function: str = "") -> list[DeviceArray]:
        """The results. The memory of the leaves that are borrowed, by their numbers, may be written once the call is over.

        ``function`` is the name of the one that the donated leaves are given to, if they are.
        """
        executable = self.executable or self.compile()
        if borrowed and not self.returned.isdisjoint(borrowed):
            leaves = [DeviceArray(x._data.copy()) if i in borrowed else x for i, x in enumerate(leaves)]
        return self.finished(executable, leaves, self.returned, borrowed, function)

    def finished(self, executable: Any, leaves: Sequence[DeviceArray], returned: frozenset[int], borrowed: Sequence[int],
                 function: str) -> list[DeviceArray]:
        """The results of an executable whose device has the leaves."""
        if executable.hosts:
            with quiet():
                outs = executable(leaves)
        elif function and executable.pairs:
            # They are given up before anybody looks who else has their memory, so no other thread can still get it.
            kept = {id(leaves[i]) for i in returned}
            given = [pair.input for pair in executable.pairs
                     if pair.input not in borrowed and id(leaves[pair.input]) not in kept]
            buffers = [x._data for x in leaves]
            for i in given:
                leaves[i].give_up(function)
            outs = executable.run(leaves, buffers, given)
        else:
            outs = executable(leaves)
        if outs is None:
            with quiet():
                compiler.replay(self.jaxpr, leaves)
        return outs

    def may_move(self, leaves: Sequence[DeviceArray]) -> bool:
        """Whether the program may run elsewhere than on the processor."""
        return CudaArray in map(type, leaves) or self.device is not None or devices.unusual > 0 \
            or compiler.home(self.jaxpr) is not None

    def place(self, leaves: Sequence[DeviceArray], original: Callable[[], Sequence[Any]], function: str,
              names: Callable[[], Sequence[str]]) -> Device | None:
        """The device to which the leaves are brought and where the program runs; None: the processor, where they all are.

        ``original`` gives the arguments as the user passed them, ``names`` their paths. Numbers and NumPy arrays follow the
        arrays. Raises DeviceError for Arrays on different devices.
        """
        if self.device is not None:
            return self.device
        found = {_gpu(x) for x in leaves if type(x) is CudaArray}
        there = compiler.home(self.jaxpr)
        if there is not None:
            found.add(there.id)
        if not found:
            device = devices.default()
            return None if device is None or any([getattr(x, "_placed", False) for x in leaves]) else device
        device = Device(f"cuda:{min(found)}")
        strays = [i for i, x in enumerate(leaves) if type(x) is DeviceArray and x.shape]
        if len(found) > 1 or strays and any([isinstance(original()[i], Array) for i in strays]):
            raise _scattered(function, device, there, names(), leaves, original())
        return device

    def call_on(self, device: Device, known: Known, leaves: Sequence[DeviceArray]) -> Callable:
        """The shortest way to call it on a GPU with arguments like these, of which one is there, as ``call`` is elsewhere."""
        avals = [x.aval for x in leaves]
        found, call = self._on_gpu.get(device.id, ((), never))
        if len(found) != len(avals) or any(map(operator.is_not, avals, found)):
            call = self.on_gpus[device.id].call_for(avals, None if known.flat >= 0 else known.split, self.join) or never
            self._on_gpu[device.id] = avals, call
        return call if CudaArray in map(type, leaves) else never

    def run_on(self, device: Device, leaves: Sequence[DeviceArray], borrowed: Sequence[int],
               function: str = "") -> list[DeviceArray]:
        """The results on a device, to which the leaves are brought; the arguments are those of ``run``."""
        if device == "cpu":
            here = [on_device(x, device, function or "jit") for x in leaves]
            return self.run(here, [i for i in borrowed if here[i] is leaves[i]], function)
        number = device.id
        executable = self.on_gpus.get(number) or self.compile_for(device)
        there = [x if type(x) is CudaArray and _gpu(x) == number else compiler.on_gpu(x, device) for x in leaves]
        return self.finished(executable, there, returned(executable), (), function)


def returned(executable: Any) -> frozenset[int]:
    """The numbers of the inputs that are results too."""
    return frozenset([detail[0] for kind, detail, _ in executable.outs if kind == "input"])


def _gpu(x: CudaArray) -> int:
    """The number of the GPU that an array is on; faster than its device."""
    return x._data.data.device_id


class Known:
    """The programs for arguments of one structure, by the identities of their types, which are compared fast."""

    __slots__ = ("flat", "split", "programs", "avals")

    def __init__(self, tree: Any):
        positional, named = tree.children()
        flat = not named.children() and all(child is LEAF for child in positional.children())
        self.flat = positional.num_leaves if flat else -1
        """How many positional arguments there are, if all are leaves and there are no others."""
        self.split = splitter(tree)
        self.programs: dict[tuple, Program] = {}
        self.avals: list[tuple] = []
        """They are kept, so that their identities stay theirs."""

    def add(self, statics: tuple | None, leaves: Sequence[DeviceArray], program: Program) -> None:
        if len(self.avals) > CACHE_SIZE:
            self.programs.clear()
            self.avals.clear()
        avals = tuple([x.aval for x in leaves])
        self.avals.append(avals)
        self.programs[(statics, *map(id, avals))] = program


def never(args: tuple, kwargs: dict) -> None:
    """Of a program without a short way."""


NOTHING = Known(tree_structure(((), {})))
_SCALARS = {kind: (dtype.type, shaped_array((), dtype, True)) for kind, dtype in PYTHON_SCALARS.items()}


def borrow(leaves: list[Any]) -> list[int]:
    """Makes Arrays of the ndarrays and numbers among some leaves, in place. Returns which of them have the caller's memory."""
    borrowed = []
    for i, x in enumerate(leaves):
        kind = type(x)
        if kind is DeviceArray or kind is CudaArray:
            continue
        if kind is np.ndarray and is_supported(x.dtype):
            value = leaves[i] = DeviceArray(x)
            value._aval = shaped_array(x.shape, x.dtype)
            borrowed.append(i)
        elif kind in _SCALARS:
            make, aval = _SCALARS[kind]
            value = leaves[i] = DeviceArray(make(x), aval.weak_type)
            value._aval = aval
        elif isinstance(x, np.generic) and is_supported(x.dtype):
            value = leaves[i] = DeviceArray(x)
            value._aval = shaped_array((), x.dtype)
    return borrowed


def _scattered(function: str, device: Device, constant: Device | None, names: Sequence[str], leaves: Sequence[DeviceArray],
               given: Sequence[Any]) -> DeviceError:
    """The error for arguments on different devices, which names those that are not on the one where the program is to run."""
    arrays = [(name, x) for name, x, arg in zip(names, leaves, given, strict=True) if x.shape and isinstance(arg, Array)]
    here, others = ([(name, f"{name}, {x.aval}, is on {x.device}") for name, x in arrays if (x.device == device) is there]
                    for there in (True, False))
    found = [text + (f", as {len(here) - 1} more are" if len(here) > 1 else "") for _, text in here[:1]]
    found += [text for _, text in others[:MOST_NAMED]] + [f"{len(others) - MOST_NAMED} more"] * (len(others) > MOST_NAMED)
    if constant is not None:
        found.append(f"a constant is on {constant}")
    argument = re.split(r"[.\[]", others[0][0])[0] if others else "x"
    return DeviceError(message(
        f"jit: arguments of {function} are on different devices", "; ".join(found), "all Arrays on one device; numbers and "
        "NumPy arrays follow them", f"fg.device_put({argument}, {str(device)!r}) before the call, or jit(..., "
        f"device={str(device)!r})"))
