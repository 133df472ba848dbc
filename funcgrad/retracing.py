"""Why a jitted function was traced: its traces, and what made the last one differ from the nearest earlier one.

In: a record of each trace. Out: text for ``jit(f).explain()``.

    step was traced 2 times in 5 calls. The last call, at train.py:12 in main, was traced (0.8 ms), because
      x: float64[32,10] became float64[17,10]   (shape)
    compared with trace 1, the nearest.
"""
from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from funcgrad.core.pretty import Text
from funcgrad.core.types import ShapedArray
from funcgrad.errors import Source
from funcgrad.transforms.arguments import argument_names, function_name
from funcgrad.tree import keystr, tree_flatten_with_path, tree_unflatten

KEPT = 64
"""Traces remembered by one function."""
MANY = 3
"""Functions jitted from one piece of code from which on ``jit`` is probably called in a loop."""

ADVICE = {
    "shape": "a new shape costs a trace and a table of instructions; kernels serve all shapes and are not compiled again. To "
             "save the trace too, pad to a few sizes, or drop the last, smaller batch",
    "dtype": "convert before the call: x.astype(dtype), or fnp.asarray(x, dtype)",
    "weak type": "a Python number is weakly typed, an array is not: pass one or the other at every call, fnp.asarray(x, dtype)",
    "static value": "every value of a static argument has a program of its own: pass as an array what the function only "
                    "computes with, and keep static what decides shapes or branches",
    "function": "a function made anew at each call, such as a lambda in a loop, is a new value each time: define it once",
    "structure": "give the argument the same keys, lengths and classes at every call",
    "mapped axes": "inside vmap with another axis name or size a program of its own is needed; call it in the same vmap",
}


@dataclass(frozen=True, slots=True)
class Signature:
    """One trace: what it was made for, when, and how long it took."""

    tree: Any
    avals: tuple[ShapedArray, ...]
    statics: tuple
    axes: tuple
    positions: tuple[int, ...]
    """Which positional arguments the dynamic ones are."""
    captures: bool
    call: int
    seconds: float
    source: Source | None


class Difference:
    """One way in which two signatures differ."""

    __slots__ = ("where", "kind", "before", "after")

    def __init__(self, where: str, kind: str, before: Any, after: Any):
        self.where, self.kind, self.before, self.after = where, kind, before, after

    def __str__(self) -> str:
        return f"{self.where}: {self.before} became {self.after}   ({self.kind})"


_jitted: Counter = Counter()
"""How many functions were jitted from each code object."""


class Traces:
    """The traces of one jitted function."""

    def __init__(self, function: Callable):
        self.function = function
        self.kept: deque[Signature] = deque(maxlen=KEPT)
        self.count = 0
        self.code = getattr(function, "__code__", None)
        if self.code is not None:
            _jitted[self.code] += 1

    def add(self, signature: Signature) -> None:
        self.kept.append(signature)
        self.count += 1

    def clear(self) -> None:
        self.kept.clear()
        self.count = 0

    def explain(self, calls: int) -> Text:
        """Why the last of so many calls was traced, or that it was not."""
        name = function_name(self.function)
        if not self.kept:
            return Text(f"{name} has not been traced: it has not been called.")
        last = self.kept[-1]
        times = "once" if self.count == 1 else f"{self.count} times"
        lines = [f"{name} was traced {times} in {calls} call{'s' if calls != 1 else ''}."]
        if last.call != calls:
            lines[0] += " The last call used a program made before."
        place = f", at {last.source}," if last.source else ""
        lines[0] += f" Call {last.call}{place} was traced ({1e3 * last.seconds:.3g} ms), because"
        earlier = list(self.kept)[:-1]
        kinds: list[str] = []
        if last.captures:
            lines.append("  it uses a value of a surrounding transformation without taking it as an argument; such a program "
                         "is valid in one call only")
            lines.append("  instead: pass the value as an argument")
        elif not earlier:
            lines.append("  it was the first.")
        else:
            nearest = min(reversed(earlier), key=lambda old: len(self.differences(old, last)))
            found = self.differences(nearest, last)
            lines += [f"  {difference}" for difference in found] or [
                "  its program had been forgotten: only so many are kept, or the cache was cleared"]
            if found:
                lines.append(f"compared with the trace of call {nearest.call}, the nearest.")
            kinds = list(dict.fromkeys(difference.kind for difference in found))
        lines += [f"  instead: {ADVICE[kind]}" for kind in kinds]
        copies = _jitted[self.code] if self.code is not None else 0
        if copies > MANY and self.count == 1:
            lines.append(f"  note: fg.jit was called {copies} times on this function's code; each result traces for itself. "
                         "Call fg.jit once, outside the loop, or decorate the function")
        return Text("\n".join(lines))

    def differences(self, old: Signature, new: Signature) -> list[Difference]:
        """What differs from one signature to another, argument by argument."""
        found = self._static_differences(old, new)
        before, after = self._types(old), self._types(new)
        for where in [w for w in after if w not in before]:
            found.append(Difference(where, "structure", "nothing", _type_text(after[where])))
        for where in [w for w in before if w not in after]:
            found.append(Difference(where, "structure", _type_text(before[where]), "nothing"))
        if before.keys() == after.keys() and old.tree != new.tree:
            found.append(Difference("the arguments", "structure", _short(old.tree), _short(new.tree)))
        for where in after:
            if where in before and before[where] != after[where]:
                found.append(_type_difference(where, before[where], after[where]))
        if old.axes != new.axes:
            found.append(Difference("vmap", "mapped axes", _axes(old.axes), _axes(new.axes)))
        return found

    def _types(self, signature: Signature) -> dict[str, ShapedArray]:
        """The type of each leaf by its path."""
        numbered = tree_unflatten(signature.tree, range(len(signature.avals)))
        names = argument_names(self.function, 1 + max(signature.positions, default=-1))
        types = {}
        for path, i in tree_flatten_with_path(numbered)[0]:
            first = names[signature.positions[path[1].idx]] if path[0].idx == 0 else str(path[1].key)
            types[first + keystr(path[2:])] = signature.avals[i]
        return types

    def _static_differences(self, old: Signature, new: Signature) -> list[Difference]:
        before = {self._label(where): (kind, value) for where, kind, value in old.statics}
        after = {self._label(where): (kind, value) for where, kind, value in new.statics}
        found = []
        for where in dict.fromkeys([*before, *after]):
            a, b = before.get(where), after.get(where)
            if a != b:
                codes = [getattr(x[1], "__code__", None) if x else None for x in (a, b)]
                kind = "function" if codes[0] is not None and codes[0] is codes[1] else "static value"
                found.append(Difference(where, kind, *[_short(x[1]) if x else "its default" for x in (a, b)]))
        return found

    def _label(self, where: int | str) -> str:
        return where if isinstance(where, str) else argument_names(self.function, where + 1)[where]


def _type_difference(where: str, before: ShapedArray, after: ShapedArray) -> Difference:
    kind = "shape" if before.shape != after.shape else "dtype" if before.dtype != after.dtype else "weak type"
    return Difference(where, kind, _type_text(before), _type_text(after))


def _type_text(aval: ShapedArray) -> str:
    return f"{aval}{' (weakly typed)' if aval.weak_type else ''}"


def _axes(axes: tuple) -> str:
    return ", ".join([f"axis {name!r} of size {size}" for name, size in axes]) or "no mapped axis"


def _short(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 70 else text[:67] + "..."
