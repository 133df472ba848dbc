"""What a jitted function keeps for each signature, and how a call finds it.

In: flat arguments. Out: a ``Program``, staged and, once it has run outside of transformations, compiled. Most calls are like
one before: their structure is taken apart by code made for it, and types are compared by identity.
"""
from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from funcgrad import compiler
from funcgrad.compiler.entry import call_for
from funcgrad.core.array import DeviceArray
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.dtypes import PYTHON_SCALARS, is_supported
from funcgrad.transforms.derivatives import quiet
from funcgrad.tree import LEAF, tree_structure
from funcgrad.tree_code import joiner, splitter

CACHE_SIZE = 4096
"""Traces kept by one jitted function; the least recently used goes first."""


class Program:
    """A function staged for one signature, and what is made when it is first run outside transformations: its executable,
    which arguments are results too, and the function from flat results to their tree."""

    __slots__ = ("jaxpr", "captured", "out_tree", "donated", "executable", "returned", "join", "_call", "_avals")

    def __init__(self, jaxpr: Jaxpr, captured: list[Any], out_tree: Any):
        self.jaxpr, self.captured, self.out_tree = jaxpr, captured, out_tree
        self.donated: Sequence[int] = ()
        self.executable: compiler.Executable | None = None
        self.returned: frozenset[int] = frozenset()
        self._call: Callable | None = None
        self._avals: list[ShapedArray] = []

    def compile(self) -> compiler.Executable:
        with quiet():
            executable = self.executable = compiler.executable(self.jaxpr, self.donated)
        self.returned = frozenset([detail[0] for kind, detail, _ in executable.outs if kind == "input"])
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
        if executable.hosts:
            with quiet():
                outs = executable(leaves)
        elif function and executable.pairs:
            # They are given up before anybody looks who else has their memory, so no other thread can still get it.
            kept = {id(leaves[i]) for i in self.returned}
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
        if kind is DeviceArray:
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
