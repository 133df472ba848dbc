"""Random programs in exact arithmetic: whatever the order of the operations, the results are equal to the last bit.

In: a seed. Out: a ``Drawn`` program on arrays of small integers (as integers or as floats), with shapes in which axes of
equal and of different sizes meet, reduced, transposed, broadcast and sliced at random.

    Drawn(7).run(np, inputs)    and    fg.jit(lambda *xs: Drawn(7).run(fnp, xs))(*inputs)    give the same
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax

KINDS = [("int64", "float64"), ("int32", "float32", "bool"), ("float64",), ("int64", "int16", "uint8", "float32", "bool")]
SIZES = [(2, 3), (3,), (2, 3, 5, 7), (1, 2, 5, 8, 17, 33, 70), (16, 17, 40, 100)]
LARGEST = 20_000


def small(lib: Any, x: Any) -> Any:
    """Back to a few integers, so that nothing is ever rounded and no float is large."""
    return lib.remainder(x, 7) - (0 if x.dtype.kind == "u" else 3)


def accumulated(lib: Any, x: Any, axis: int) -> Any:
    return np.maximum.accumulate(x, axis=axis) if lib is np else lax.cummax(x, axis=axis)


def added(lib: Any, x: Any, y: Any, rows: tuple[int, ...]) -> Any:
    if lib is not np:
        return small(lib, fnp.asarray(x).at[np.array(rows)].add(y))
    out = np.array(x)
    np.add.at(out, np.array(rows), y)
    return small(np, out)


def scanned(lib: Any, x: Any, carry: Any, result: int, reverse: bool) -> Any:
    def body(c: Any, row: Any) -> Any:
        new = small(lib, c * 2 + row)
        return new, new - row

    if lib is not np:
        return lax.scan(body, carry, x, reverse=reverse)[result]
    ys: list[Any] = [None] * len(x)
    for i in reversed(range(len(x))) if reverse else range(len(x)):
        carry, ys[i] = body(np.asarray(carry), np.asarray(x[i]))
    return (carry, np.stack(ys))[result]


def chosen(lib: Any, x: Any, y: Any) -> Any:
    condition, yes, no = lib.sum(x) > 0, lambda a, b: small(lib, a + b), lambda a, b: b
    return lax.cond(condition, yes, no, x, y) if lib is not np else (yes if condition else no)(x, y)


def counted(lib: Any, x: Any, axis: int) -> Any:
    shape = [-1 if d == axis else 1 for d in range(x.ndim)]
    return x + lib.reshape(lib.arange(x.shape[axis]), shape).astype(x.dtype)


UNARY: dict[str, Callable] = {
    "neg": lambda lib, x: -x, "square": lambda lib, x: small(lib, x * x), "abs": lambda lib, x: lib.abs(x),
    "sign": lambda lib, x: lib.sign(x), "shifted": lambda lib, x: small(lib, x + 1)}
BINARY: dict[str, Callable] = {
    "add": lambda lib, x, y: small(lib, x + y), "sub": lambda lib, x, y: small(lib, x - y),
    "mul": lambda lib, x, y: small(lib, x * y), "maximum": lambda lib, x, y: lib.maximum(x, y),
    "where": lambda lib, x, y: lib.where(x > 1, x, y)}
REDUCTIONS: dict[str, Callable] = {
    "sum": lambda lib, x, axis, keepdims: small(lib, lib.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype)),
    "max": lambda lib, x, axis, keepdims: lib.max(x, axis=axis, keepdims=keepdims),
    "all": lambda lib, x, axis, keepdims: lib.all(x, axis=axis, keepdims=keepdims),
    "centred": lambda lib, x, axis, keepdims: small(lib, x - small(lib, lib.sum(x, axis=axis, keepdims=True, dtype=x.dtype)))}
ALONG: dict[str, Callable] = {
    "counted": counted, "argmax": lambda lib, x, axis: lib.argmax(x, axis=axis).astype("int32"),
    "cumsum": lambda lib, x, axis: small(lib, lib.cumsum(x, axis=axis, dtype=x.dtype)), "cummax": accumulated,
    "sort": lambda lib, x, axis: lib.sort(x, axis=axis)}
MOVEMENT: dict[str, Callable] = {
    "transpose": lambda lib, x, axes: lib.transpose(x, axes), "reshape": lambda lib, x, shape: lib.reshape(x, shape),
    "broadcast_to": lambda lib, x, shape: lib.broadcast_to(x, shape), "slice": lambda lib, x, index: x[index],
    "expand_dims": lambda lib, x, axis: lib.expand_dims(x, axis), "squeeze": lambda lib, x: lib.squeeze(x),
    "pad": lambda lib, x, widths: lib.pad(x, widths), "astype": lambda lib, x, dtype: x.astype(dtype),
    "rows": lambda lib, x, rows: x[np.array(rows)]}
OTHER: dict[str, Callable] = {
    "concatenate": lambda lib, x, y, axis: lib.concatenate([x, y], axis=axis), "scanned": scanned, "chosen": chosen,
    "matmul": lambda lib, x, y: small(lib, lib.matmul(x, y)), "added": added,
    "tensordot": lambda lib, x, y, axes: small(lib, lib.tensordot(x, y, axes=axes))}
APPLY = {**UNARY, **BINARY, **REDUCTIONS, **ALONG, **MOVEMENT, **OTHER}
NAMES = [name for group, weight in ((UNARY, 2), (BINARY, 6), (REDUCTIONS, 4), (ALONG, 1), (MOVEMENT, 4), (OTHER, 2))
         for name in group for _ in range(weight)]
NUMBERS_ONLY = {*UNARY, *BINARY, "sum", "centred", *ALONG, "pad", "scanned", "chosen", "matmul", "added", "tensordot"}


class Drawn:
    """A program: ``inputs``, ``steps`` of (name, operands, params), and which values it returns."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)
        self.kinds = KINDS[seed % len(KINDS)]
        self.sizes = [int(self.random.choice(SIZES[seed // 2 % len(SIZES)])) for _ in range(3)]
        self.inputs = [self.input() for _ in range(self.random.integers(1, 4))]
        self.values: list[Any] = list(self.inputs)
        self.steps: list[tuple[str, tuple[int, ...], dict[str, Any]]] = []
        for _ in range(self.random.integers(4, 22)):
            while not self.append():
                pass
        used = {i for _, operands, _ in self.steps for i in operands}
        self.outputs = [i for i in range(len(self.inputs), len(self.values)) if i not in used]
        self.outputs += [self.below(len(self.values)) for _ in range(self.below(3))]

    def run(self, lib: Any, inputs: Sequence[Any]) -> list[Any]:
        values = list(inputs)
        for name, operands, params in self.steps:
            values.append(APPLY[name](lib, *[values[i] for i in operands], **params))
        return [values[i] for i in self.outputs]

    def __str__(self) -> str:
        lines = [f"v{i}: {x.dtype}{list(x.shape)}" for i, x in enumerate(self.inputs)]
        lines += [f"v{i} = {name}{operands} {params}" for i, (name, operands, params) in enumerate(self.steps, len(self.inputs))]
        return "\n".join([*lines, f"return {self.outputs}"])

    # ------------------------------------------------------------ drawing

    def below(self, n: int) -> int:
        return int(self.random.integers(n))

    def input(self) -> np.ndarray:
        """In one of several layouts."""
        shape = tuple(self.sizes[self.below(3)] if self.below(6) else 1 for _ in range(self.below(4)))
        dtype = self.kinds[self.below(len(self.kinds))]
        x = np.asarray(self.random.integers(0 if dtype == "uint8" else -4, 5, shape)).astype(dtype)
        return [lambda: x.T, lambda: x[..., ::-1] if x.ndim else x, lambda: x][self.below(3)]()

    def pick(self, fits: Callable[[np.ndarray], bool]) -> int | None:
        """A value that fits; later ones are likelier."""
        found = [i for i, x in enumerate(self.values) if fits(x)]
        weights = np.arange(1.0, len(found) + 1)
        return int(self.random.choice(found, p=weights / weights.sum())) if found else None

    def append(self) -> bool:
        """Tries one more step."""
        name = NAMES[self.below(len(NAMES))]
        i = self.pick(lambda x: x.dtype.kind != "b" or name not in NUMBERS_ONLY)
        found = None if i is None else self.draw(name, i, self.values[i])
        if found is None:
            return False
        operands, params = found
        value = np.asarray(APPLY[name](np, *[self.values[j] for j in operands], **params))
        if value.size > LARGEST or value.ndim > 5:
            return False
        self.steps.append((name, operands, params))
        self.values.append(value)
        return True

    def draw(self, name: str, i: int, x: np.ndarray) -> tuple[tuple[int, ...], dict[str, Any]] | None:
        """Operands and params for an operation on a value, or None."""
        like = lambda fits: self.pick(lambda y: y.dtype == x.dtype and fits(y))  # noqa: E731
        if name in UNARY or name == "squeeze":
            return (i,), {}
        if name in BINARY:
            return (i, like(lambda y: broadcasts(x.shape, y.shape))), {}
        if name == "chosen":
            return (i, like(lambda y: y.shape == x.shape)), {}
        if name == "astype":
            return (i,), {"dtype": self.kinds[self.below(len(self.kinds))]}
        if name == "expand_dims":
            return (i,), {"axis": self.below(x.ndim + 1)}
        if name == "broadcast_to":
            shape = [self.sizes[self.below(3)] if n == 1 and self.below(2) else n for n in x.shape]
            return (i,), {"shape": (*[self.sizes[self.below(3)] for _ in range(self.below(2))], *shape)}
        if not x.ndim:
            return None
        axis = self.below(x.ndim)
        if name in REDUCTIONS:
            axes = tuple(int(d) for d in self.random.permutation(x.ndim)[:1 + self.below(x.ndim)])
            return (i,), {"axis": axes, "keepdims": bool(self.below(2))}
        if name in ALONG:
            return (i,), {"axis": axis}
        return self.draw_movement(name, i, x, axis) or self.draw_pair(name, i, x, axis, like)

    def draw_movement(self, name: str, i: int, x: np.ndarray, axis: int) -> Any:
        if name == "transpose":
            return (i,), {"axes": tuple(int(d) for d in self.random.permutation(x.ndim))}
        if name == "reshape":
            factors = [d for d in range(1, x.size + 1) if x.size % d == 0]
            d = factors[self.below(len(factors))]
            return (i,), {"shape": [(x.size,), (d, x.size // d), (d, 1, x.size // d)][self.below(3)]}
        if name == "slice":
            choices = [lambda a: slice(None), lambda a: slice(a, None), lambda a: slice(None, None, -1), lambda a: slice(a, None, 2)]
            return (i,), {"index": tuple([choices[self.below(4)](self.below(n)) for n in x.shape])}
        if name == "pad":
            return (i,), {"widths": tuple([(self.below(3), self.below(3)) for _ in x.shape])}
        if name == "rows":
            return (i,), {"rows": tuple([self.below(2 * len(x)) - len(x) for _ in range(1 + self.below(5))])}
        return None

    def draw_pair(self, name: str, i: int, x: np.ndarray, axis: int, like: Callable) -> Any:
        params: dict[str, Any] = {}
        if name == "concatenate":
            j, params = like(lambda y: y.ndim == x.ndim and all(d == axis or m == n for d, (m, n) in enumerate(zip(
                x.shape, y.shape, strict=True)))), {"axis": axis}
        elif name == "added":
            j, params = like(lambda y: y.shape in (x.shape[1:], ())), {"rows": tuple([self.below(len(x)) for _ in range(4)])}
        elif name == "scanned":
            j = like(lambda y: y.shape == x.shape[1:]) if len(x) < 20 else None
            params = {"result": self.below(2), "reverse": bool(self.below(2))}
        elif name == "tensordot":
            j = like(lambda y: x.shape[axis] in y.shape and x.size * y.size // x.shape[axis] ** 2 <= LARGEST)
            params = {} if j is None else {"axes": ((axis,), (self.values[j].shape.index(x.shape[axis]),))}
        else:
            j = like(lambda y: multiplies(x.shape, y.shape))
        return None if j is None else ((i, j), params)


def broadcasts(a: Sequence[int], b: Sequence[int]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(reversed(a), reversed(b), strict=False)) \
        and math.prod(max(m, n) for m, n in zip([1] * 5 + list(a), [1] * 5 + list(b), strict=False)) <= LARGEST * 99


def multiplies(a: Sequence[int], b: Sequence[int]) -> bool:
    return bool(b) and a[-1] == b[-2 if len(b) > 1 else 0] and broadcasts(a[:-2], b[:-2]) and math.prod(a) * b[-1] < LARGEST * 99
