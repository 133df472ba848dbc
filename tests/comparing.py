"""The interpreter and the compiler on one program, and how far apart their results are.

In: a jaxpr and arguments. Out: results of both; an AssertionError where they differ by more than some units in the last
place. A unit is that of the larger of the expected element and of ``scale``, a fraction of the largest one: 0 where every
element is rounded by itself, 1 where elements are sums of terms as large as any.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np

import funcgrad as fg
from funcgrad import compiler, passes
from funcgrad.core.array import DeviceArray
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.stage import as_value
from funcgrad.core.stage import interpret as execute

BF16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = tuple(map(np.dtype, ("float64", "float32", "float16", BF16)))
COMPLEX = tuple(map(np.dtype, ("complex128", "complex64")))
INTEGERS = tuple(map(np.dtype, ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")))
BOOL = np.dtype(bool)


@contextmanager
def interpreting() -> Iterator[None]:
    """Inside, programs run equation by equation, those of a nested jit too."""
    run, compiler.run = compiler.run, execute
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        compiler.run = run


class Interpreted:
    """In place of an executable: a program after the passes, equation by equation."""

    hosts = pairs = outs = ()
    plain = False

    def __init__(self, jaxpr: Jaxpr, donated: Sequence[int] = (), device: Any = None):
        self.program = passes.run(jaxpr)

    def __call__(self, args: Sequence[Any]) -> list[Any]:
        with np.errstate(all="ignore"):
            return execute(self.program, args)


@contextmanager
def without_kernels() -> Iterator[None]:
    """Inside, what is jitted is staged, goes through the passes and runs, but makes no machine code.

    For tests that apply many transformations to one program: each result would be a kernel of its own, which takes longer to
    compile than all the rest. What kernels compute is compared with the interpreter in ``test_compiled.py``.
    """
    executable, compiler.executable = compiler.executable, Interpreted
    try:
        yield
    finally:
        compiler.executable = executable


def interpreted(jaxpr: Jaxpr, args: Sequence[Any]) -> list[Any]:
    with interpreting():
        return execute(jaxpr, [as_value(x) for x in args])


def compiled(jaxpr: Jaxpr, args: Sequence[Any]) -> list[Any]:
    with np.errstate(all="ignore"):
        return compiler.run(jaxpr, [as_value(x) for x in args])


def program(function: Callable, *args: Any) -> tuple[Jaxpr, list[Any]]:
    """The jaxpr of a function for these arguments, and the arguments as its inputs."""
    return fg.make_jaxpr(function)(*args), [as_value(x) for x in fg.tree.leaves(args)]


def compare(function: Callable, *args: Any, ulp: float = 4, scale: float = 0, zeros: bool = True) -> list[Any]:
    """Compiles a function for its arguments and compares with the interpreter. Returns what was compiled."""
    jaxpr, inputs = program(function, *args)
    found = compiled(jaxpr, inputs)
    try:
        assert_same(found, interpreted(jaxpr, inputs), ulp, scale, zeros)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{jaxpr}") from None
    return found


def assert_same(found: Sequence[Any], expected: Sequence[Any], ulp: float = 4, scale: float = 0, zeros: bool = True) -> None:
    """Types, NaNs, infinities and (if ``zeros``) the signs of zeros are equal, finite numbers to some units."""
    assert len(found) == len(expected)
    for i, (x, y) in enumerate(zip(found, expected, strict=True)):
        assert type(x) is type(y) is DeviceArray, f"result {i} is {type(x)}, not {type(y)}"
        assert (x.shape, x.dtype, x.weak_type) == (y.shape, y.dtype, y.weak_type), f"result {i} is {x.aval}, not {y.aval}"
        _assert_close(np.asarray(x), np.asarray(y), ulp, scale, zeros, i)


def _assert_close(x: np.ndarray, y: np.ndarray, ulp: float, scale: float, zeros: bool, result: int) -> None:
    if x.dtype.kind == "c":
        _assert_close(x.real, y.real, ulp, scale, zeros, result)
        _assert_close(x.imag, y.imag, ulp, scale, zeros, result)
        return
    if x.dtype.kind in "biu" or x.dtype.names is not None:
        bad = x != y if x.dtype.names is None else np.zeros(x.shape, bool)
    else:
        bad = ~_agree(x, y, ulp, scale, zeros)
    if bad.any():
        at = tuple(int(k) for k in np.argwhere(bad)[0])
        raise AssertionError(f"result {result}, {bad.sum()} of {bad.size} elements, first {at}: {x[at]!r} for {y[at]!r} "
                             f"({units(x, y, scale)[at] if x.dtype.kind not in 'biu' else ''} units)")


def units(x: np.ndarray, y: np.ndarray, scale: float = 0) -> np.ndarray:
    """The distance of two arrays of floats in units in the last place."""
    info = ml_dtypes.finfo(y.dtype)
    x, y = x.astype(np.longdouble), y.astype(np.longdouble)
    finite = np.abs(y[np.isfinite(y)])
    size = np.maximum(np.where(np.isfinite(y), np.abs(y), 0), scale * finite.max(initial=0))
    exponent = np.floor(np.log2(np.maximum(size, float(info.smallest_normal))))
    with np.errstate(all="ignore"):
        return np.where(x == y, 0, np.abs(x - y)) / np.exp2(exponent - info.nmant)


def _agree(x: np.ndarray, y: np.ndarray, ulp: float, scale: float, zeros: bool) -> np.ndarray:
    a, b = x.astype(np.longdouble), y.astype(np.longdouble)
    with np.errstate(all="ignore"):
        close = units(x, y, scale) <= ulp
    close = np.where(np.isfinite(b) & np.isfinite(a), close, (a == b) | (np.isnan(a) & np.isnan(b)))
    if zeros:
        close &= (np.signbit(a) == np.signbit(b)) | (b != 0) | (a != 0)
    return close


def special_values(dtype: np.dtype, count: int = 40, seed: int = 0) -> np.ndarray:
    """Zeros, infinities, NaN, subnormal, small, large and ordinary numbers; of integers the limits and small numbers."""
    generator = np.random.default_rng(seed)
    if dtype.kind == "b":
        return generator.random(count) < 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        edges = [info.min, info.min + 1, -1 if info.min else 1, 0, 1, 2, 3, info.max - 1, info.max, info.max // 2]
        return np.concatenate([np.array(edges, dtype), generator.integers(max(info.min, -99), 100, count).astype(dtype)])
    if dtype.kind == "c":
        part = np.dtype(f"f{dtype.itemsize // 2}")
        return (generator.normal(size=count) + 1j * generator.normal(size=count)).astype(dtype) if count < 0 else _pairs(
            special_values(part, 4, seed)[:14], dtype)
    info = ml_dtypes.finfo(dtype)
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, float(info.smallest_subnormal), -float(info.smallest_subnormal),
             float(info.smallest_normal), float(info.smallest_normal) / 2, float(info.max), -float(info.max), 1.0, -1.0, 0.5,
             2.0, -2.0, 3.0, float(info.eps), 1.0 + float(info.eps), 1.0 - float(info.eps) / 2, 1e-3, 88.0, -88.0, 710.0, -745.0,
             1e4, 12345.678]
    ordinary = generator.normal(size=count) * np.exp2(generator.integers(-3, 4, count))
    with np.errstate(all="ignore"):
        return np.concatenate([edges, ordinary]).astype(dtype)


def _pairs(parts: np.ndarray, dtype: np.dtype) -> np.ndarray:
    grid = np.empty((len(parts), len(parts)), dtype)
    grid.real, grid.imag = parts[:, None], parts[None, :]
    return grid.ravel()
