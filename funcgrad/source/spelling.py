"""The spelling of operations whose ``impl`` is written for speed, as a person would write them with NumPy.

In: as an ``impl``: the module, the values and the params. Out: the same numbers, up to the order of sums.

    dot_general[contracting the last axis of x with the first of y]    ->    x @ y
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgrad.source.calls import spread

_AS_THEY_ARE = ("float32", "float64", "complex64", "complex128")


def broadcast_in_dim(xp: Any, x: Any, *, shape: tuple[int, ...], broadcast_dimensions: tuple[int, ...]) -> Any:
    if not x.shape:
        return spread(xp.full(shape, x), x)
    sizes = [1] * len(shape)
    for n, d in zip(x.shape, broadcast_dimensions, strict=True):
        sizes[d] = n
    trailing = tuple(broadcast_dimensions) == tuple(range(len(shape) - len(x.shape), len(shape)))
    x = x if trailing else x.reshape(tuple(sizes))
    return x if x.shape == shape else spread(xp.broadcast_to(x, shape), x)


def dot_general(xp: Any, x: Any, y: Any, *, dimension_numbers: Any, preferred_element_type: Any, precision: Any = None) -> Any:
    (of_x, of_y), (batch_x, batch_y) = dimension_numbers
    if x.dtype.name not in _AS_THEY_ARE or preferred_element_type not in (None, x.dtype):
        return NotImplemented
    if not batch_x and len(of_x) == 1 and 0 < x.ndim <= 2 and 0 < y.ndim <= 2:
        return (x if of_x[0] == x.ndim - 1 else x.T) @ (y if of_y[0] == 0 else y.T)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left, right = [""] * x.ndim, [""] * y.ndim
    for i, j in (*zip(batch_x, batch_y, strict=True), *zip(of_x, of_y, strict=True)):
        left[i] = right[j] = next(letters)
    left, right = ([a or next(letters) for a in names] for names in (left, right))
    batch = [left[i] for i in batch_x]
    out = [*batch, *[a for a in left if a not in right], *[a for a in right if a not in left]]
    return xp.einsum(f"{''.join(left)},{''.join(right)}->{''.join(out)}", x, y)


def reduce_sum(xp: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
    if x.dtype.name not in _AS_THEY_ARE:
        return NotImplemented
    return xp.sum(x, **_axis(x, axes))


def reduce_extreme(name: str) -> Callable:
    def spelled(xp: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
        return getattr(xp, name)(x, **_axis(x, axes)) if x.size else NotImplemented

    return spelled


def _axis(x: Any, axes: tuple[int, ...]) -> dict[str, Any]:
    return {} if len(axes) == x.ndim else {"axis": axes[0] if len(axes) == 1 else tuple(axes)}


def slice_(xp: Any, x: Any, *, start_indices: Any, limit_indices: Any, strides: Any) -> Any:
    index = [slice(a or None, b if b != n else None, s if s != 1 else None)
             for a, b, s, n in zip(start_indices, limit_indices, strides, x.shape, strict=True)]
    while index and index[-1] == slice(None):
        index.pop()
    return x[tuple(index)] if index else x


def iota(xp: Any, *, dtype: Any, shape: tuple[int, ...], dimension: int) -> Any:
    numbers = xp.arange(shape[dimension], dtype=dtype)
    if len(shape) == 1:
        return numbers
    return xp.broadcast_to(numbers.reshape(tuple([n if i == dimension else 1 for i, n in enumerate(shape)])), shape)


def convert_element_type(xp: Any, x: Any, *, new_dtype: Any, weak_type: bool) -> Any:
    if x.dtype.kind == "c" and new_dtype.kind != "c" or new_dtype.isbuiltin != 1 or not hasattr(x, "_scribe"):
        return NotImplemented
    if x.shape:
        return x.astype(new_dtype)
    out = xp._scribe.call(new_dtype.type, "np.bool_" if new_dtype.kind == "b" else f"np.{new_dtype.name}", (x,), {})
    if x.dtype.kind == "b":
        out._truth = x
    return out


def pad(xp: Any, x: Any, value: Any, *, padding_config: Any) -> Any:
    if not x.shape or any(low < 0 or high < 0 or between for low, high, between in padding_config):
        return NotImplemented
    return xp.pad(x, [(low, high) for low, high, _ in padding_config], constant_values=value)


def integer_pow(xp: Any, x: Any, *, y: int) -> Any:
    return x ** y if x.dtype.kind in "fc" and x.dtype.name in _AS_THEY_ARE and y >= 0 else NotImplemented


def scipy_linalg(name: str, **options: Any) -> Callable:
    """A function of ``scipy.linalg`` on single matrices."""

    def spelled(xp: Any, *args: Any) -> Any:
        import scipy.linalg
        if any(x.ndim != 2 or not x.size for x in args):
            return NotImplemented
        return xp._scribe.call(getattr(scipy.linalg, name), f"scipy.linalg.{name}", args, options)

    return spelled


def cosine_transform(xp: Any, x: Any, *, kind: int, axes: tuple[int, ...]) -> Any:
    import scipy.fft
    return xp._scribe.call(scipy.fft.dctn, "scipy.fft.dctn", (x, kind), {"axes": tuple(axes), "norm": "ortho"})


def factored_solve(xp: Any, a: Any, lu: Any, permutation: Any, b: Any, *, transpose_a: bool) -> Any:
    return xp.linalg.solve(xp.swapaxes(a, -1, -2) if transpose_a else a, b)


def triangular_solve(xp: Any, a: Any, b: Any, *, lower: bool, transpose_a: bool, unit_diagonal: bool) -> Any:
    import scipy.linalg
    if a.ndim != 2 or not b.size:
        return NotImplemented
    options = {"trans": 1} if transpose_a else {}
    return xp._scribe.call(scipy.linalg.solve_triangular, "scipy.linalg.solve_triangular", (a, b),
                           {**options, "lower": lower, **({"unit_diagonal": True} if unit_diagonal else {})})


def select_n(xp: Any, which: Any, *cases: Any) -> Any:
    return xp.where(which, cases[1], cases[0]) if which.dtype.kind == "b" else NotImplemented


SPELLINGS: dict[str, Callable] = {
    "broadcast_in_dim": broadcast_in_dim, "slice": slice_, "iota": iota, "pad": pad, "select_n": select_n,
    "integer_pow": integer_pow, "convert_element_type": convert_element_type, "dot_general": dot_general,
    "reduce_sum": reduce_sum, "reduce_max": reduce_extreme("max"), "reduce_min": reduce_extreme("min"),
    "cosine_transform": cosine_transform, "factored_solve": factored_solve,
    "triangular_solve": triangular_solve, "expm": scipy_linalg("expm"),
    "expm_frechet": scipy_linalg("expm_frechet", compute_expm=False), "sylvester": scipy_linalg("solve_sylvester"),
    "sqrtm": scipy_linalg("sqrtm"),
}
"""By the name of a primitive; a spelling may answer NotImplemented, and the ``impl`` is taken."""
