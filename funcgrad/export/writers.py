"""How operations are written in NumPy.

In: an equation and the names of its operands. Out: an expression. Elementwise operations are the scalar expressions in the
primitives' slot ``code``, which NumPy applies to whole arrays; what moves, sums up or multiplies arrays has an entry here.

    mul x y -> "x * y"        reduce_sum[axes=(0,)] x -> "np.sum(x, axis=0)"        dot_general x w -> "x @ w"
"""
from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence

import numpy as np

from funcgrad import dtypes
from funcgrad.core.jaxpr import Equation
from funcgrad.core.primitive import Kind, missing_rule
from funcgrad.errors import message
from funcgrad.export.helpers import HELPERS
from funcgrad.ops.index_maps import default_fill, window_sizes

NUMPY = frozenset("exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan sinh cosh tanh floor ceil trunc rint sign abs maximum "
                  "minimum hypot cbrt logaddexp logaddexp2 conj isfinite fmod remainder floor_divide nextafter gcd".split())
RENAMED = {"asin": "np.arcsin", "acos": "np.arccos", "atan": "np.arctan", "asinh": "np.arcsinh", "acosh": "np.arccosh",
           "atanh": "np.arctanh", "atan2": "np.arctan2", "pow": "np.power", "divide": "np.divide", "erf": "special.erf",
           "erfc": "special.erfc", "erf_inv": "special.erfinv", "lgamma": "special.gammaln", "digamma": "special.digamma",
           "logistic": "special.expit"}
EINSTEIN = string.ascii_letters


def expression(equation: Equation, args: Sequence[str]) -> str:
    """The right side of an assignment. Raises MissingRuleError for an operation that is not written in NumPy."""
    name = equation.primitive.name
    if name in WRITERS:
        return WRITERS[name](equation, args)
    text = elementwise(equation, args) if equation.primitive.kind is Kind.ELEMENTWISE else None
    if text is None:
        raise missing_rule(equation.primitive, "to_source", "code")
    return text


def elementwise(equation: Equation, args: Sequence[str]) -> str | None:
    """A scalar expression with NumPy's functions; None if there is none."""
    in_dtypes = [a.aval.dtype for a in equation.inputs]
    template = equation.primitive.code
    if isinstance(template, dict):
        kind = dtypes.kind(in_dtypes[0])
        template = next((t for kinds, t in template.items() if kind in kinds), None)
    if callable(template):
        template = template(*in_dtypes, **equation.params)
    if not isinstance(template, str):
        return None
    missing = []

    def called(found: re.Match) -> str:
        name = found[1]
        if name in NUMPY:
            return f"np.{name}("
        if name.startswith("scipy_"):
            return f"special.{name.removeprefix('scipy_')}("
        known = RENAMED.get(name) or ("complex_of" if name == "complex" else name if name in HELPERS else None)
        if known is None:
            missing.append(name)
        return f"{known}("

    text = re.sub(r"\b([a-z_]\w*)\(", called, template.replace("not {0}", "~{0}"))
    return None if missing else text.format(*args, **equation.params)


# ---------------------------------------------------------------- one operation each


def dtype_text(dtype: np.dtype) -> str:
    """A dtype in a file. Raises TypeError for one that NumPy does not have."""
    if dtype.kind == "V":
        raise TypeError(message(f"to_source: NumPy has no dtype {dtype.name}", None, "NumPy's dtypes", 'x.astype("float32")'))
    return "bool" if dtype.kind == "b" else f"np.{dtype.name}"


def _axis(axes: Sequence[int]) -> str:
    return str(axes[0]) if len(axes) == 1 else str(tuple(axes))


def _reduction(function: str) -> Callable:
    def write(e: Equation, args: Sequence[str]) -> str:
        axes, x = e.params["axes"], e.inputs[0].aval
        axis = "" if len(axes) == x.ndim and "." not in function[3:] else f", axis={_axis(axes)}"
        if function not in ("np.sum", "np.prod") or x.dtype.itemsize > 4 or x.dtype == np.float32:
            return f"{function}({args[0]}{axis})"
        if dtypes.kind(x.dtype) == "f":  # summed up in float32, rounded once
            return f"{function}({args[0]}{axis}, dtype=np.float32).astype({dtype_text(x.dtype)})"
        return f"{function}({args[0]}{axis}, dtype={dtype_text(x.dtype)})"

    return write


def _position(function: str) -> Callable:
    def write(e: Equation, args: Sequence[str]) -> str:
        text = f"{function}({args[0]}, axis={e.params['axes'][0]})"
        dtype = e.params["index_dtype"]
        return text if dtype == np.int64 else f"{text}.astype({dtype_text(dtype)})"

    return write


def _cumulative(function: str) -> Callable:
    def write(e: Equation, args: Sequence[str]) -> str:
        axis = e.params["axis"]
        if e.params["reverse"]:
            return f"np.flip({function}(np.flip({args[0]}, {axis}), axis={axis}), {axis})"
        return f"{function}({args[0]}, axis={axis})"

    return write


def _broadcast(e: Equation, args: Sequence[str]) -> str:
    x, shape, at = e.inputs[0].aval, e.params["shape"], e.params["broadcast_dimensions"]
    if not x.shape:
        return f"np.full({shape}, {args[0]}, {dtype_text(x.dtype)})"
    sizes = [1] * len(shape)
    for n, d in zip(x.shape, at, strict=True):
        sizes[d] = n
    moved = args[0] if tuple(sizes[len(shape) - x.ndim:]) == x.shape else f"{args[0]}.reshape({tuple(sizes)})"
    return moved if tuple(sizes) == shape else f"np.broadcast_to({moved}, {shape})"


def _slice(e: Equation, args: Sequence[str]) -> str:
    parts = []
    for start, stop, step, n in zip(e.params["start_indices"], e.params["limit_indices"], e.params["strides"],
                                    e.inputs[0].aval.shape, strict=True):
        parts.append(f"{start or ''}:{'' if stop == n else stop}{'' if step == 1 else f':{step}'}")
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return f"{args[0]}[{', '.join(parts)}]"


def _iota(e: Equation, args: Sequence[str]) -> str:
    dtype, shape, d = (e.params[k] for k in ("dtype", "shape", "dimension"))
    text = f"np.arange({shape[d]}, dtype={dtype_text(dtype)})"
    if len(shape) == 1:
        return text
    return f"np.broadcast_to({text}.reshape({tuple(n if i == d else 1 for i, n in enumerate(shape))}), {shape})"


def _dot(e: Equation, args: Sequence[str]) -> str:
    (lc, rc), (lb, rb) = e.params["dimension_numbers"]
    x, y = e.inputs[0].aval.ndim, e.inputs[1].aval.ndim
    if not lb and len(lc) == 1 and 1 <= x <= 2 and 1 <= y <= 2:
        left = args[0] if lc[0] == x - 1 else f"{args[0]}.T"
        right = args[1] if rc[0] == 0 else f"{args[1]}.T"
        text = f"{left} @ {right}"
    else:
        letters = iter(EINSTEIN)
        left_axes, right_axes = [next(letters) for _ in range(x)], [next(letters) for _ in range(y)]
        for i, j in zip((*lc, *lb), (*rc, *rb), strict=True):
            right_axes[j] = left_axes[i]
        out = [left_axes[i] for i in lb] + [a for i, a in enumerate(left_axes) if i not in lc + lb]
        out += [a for j, a in enumerate(right_axes) if j not in rc + rb]
        text = f"np.einsum(\"{''.join(left_axes)},{''.join(right_axes)}->{''.join(out)}\", {', '.join(args)})"
    wanted = e.outs[0].aval.dtype
    return text if wanted == e.inputs[0].aval.dtype else f"({text}).astype({dtype_text(wanted)})"


def _convert(e: Equation, args: Sequence[str]) -> str:
    x, new = e.inputs[0].aval.dtype, e.params["new_dtype"]
    if x == new:
        return args[0]
    return f"np.asarray({args[0]}{'.real' if x.kind == 'c' and new.kind != 'c' else ''}).astype({dtype_text(new)})"


def _sort(e: Equation, args: Sequence[str]) -> str:
    if len(args) > 1:
        return f"sort_together(({', '.join(args)}), {e.params['dimension']}, {e.params['num_keys']})"
    return f"np.sort({args[0]}, axis={e.params['dimension']})"


def _gather(e: Equation, args: Sequence[str]) -> str:
    p, dtype = e.params, e.outs[0].aval.dtype
    fill = default_fill(dtype) if p["fill_value"] is None else p["fill_value"]
    return (f"gather({args[0]}, {args[1]}, {tuple(p['dimension_numbers'])}, {p['slice_sizes']}, {p['mode']!r}, "
            f"{'np.nan' if fill != fill else fill}, {e.outs[0].aval.shape})")


def _scatter(combine: str | None) -> Callable:
    def write(e: Equation, args: Sequence[str]) -> str:
        dims = e.params["dimension_numbers"]
        sizes = window_sizes(e.inputs[0].aval, e.inputs[2].aval, dims)
        return f"scatter({combine}, {', '.join(args)}, {tuple(dims)}, {sizes}, {e.params['mode']!r})"

    return write


def _dynamic_slice(e: Equation, args: Sequence[str]) -> str:
    return (f"{args[0]}[window({e.inputs[0].aval.shape}, ({', '.join(args[1:])},), {e.params['slice_sizes']}, "
            f"{e.params['wrap']})]")


def _dynamic_update_slice(e: Equation, args: Sequence[str]) -> str:
    return (f"updated({args[0]}, window({e.inputs[0].aval.shape}, ({', '.join(args[2:])},), {e.inputs[1].aval.shape}, "
            f"{e.params['wrap']}), {args[1]})")


WRITERS: dict[str, Callable[[Equation, Sequence[str]], str]] = {
    "reshape": lambda e, args: f"np.reshape({args[0]}, {e.params['new_sizes']})", "broadcast_in_dim": _broadcast,
    "transpose": lambda e, args: f"np.transpose({args[0]}, {e.params['permutation']})",
    "rev": lambda e, args: f"np.flip({args[0]}, {e.params['dimensions']})", "slice": _slice, "iota": _iota,
    "pad": lambda e, args: f"pad({args[0]}, {args[1]}, {e.params['padding_config']})",
    "concatenate": lambda e, args: f"np.concatenate(({', '.join(args)},), axis={e.params['dimension']})",
    "reduce_sum": _reduction("np.sum"), "reduce_prod": _reduction("np.prod"), "reduce_max": _reduction("np.max"),
    "reduce_min": _reduction("np.min"), "argmax": _position("np.argmax"), "argmin": _position("np.argmin"),
    "reduce_and": _reduction("np.bitwise_and.reduce"), "reduce_or": _reduction("np.bitwise_or.reduce"),
    "reduce_xor": _reduction("np.bitwise_xor.reduce"), "cumsum": _cumulative("np.cumsum"), "cumprod": _cumulative("np.cumprod"),
    "cummax": _cumulative("np.maximum.accumulate"), "cummin": _cumulative("np.minimum.accumulate"),
    "cumlogsumexp": _cumulative("np.logaddexp.accumulate"), "dot_general": _dot, "convert_element_type": _convert,
    "sort": _sort,
    "gather": _gather, "scatter": _scatter(None), "scatter_add": _scatter("np.add"), "scatter_mul": _scatter("np.multiply"),
    "scatter_min": _scatter("np.minimum"), "scatter_max": _scatter("np.maximum"), "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "take_along": lambda e, args: f"np.take_along_axis({args[0]}, {args[1]}, {e.params['axis']})",
    "add_along": lambda e, args: f"add_along({args[0]}, {args[1]}, {e.params['axis']}, {e.params['size']})",
    "integer_pow": lambda e, args: f"{'' if e.params['y'] >= 0 else '1 / '}{args[0]} ** {abs(e.params['y'])}",
    "select_n": lambda e, args: (f"np.where({args[0]}, {args[2]}, {args[1]})" if e.inputs[0].aval.dtype.kind == "b" else
                                 f"np.choose(np.clip({args[0]}, 0, {len(args) - 2}), ({', '.join(args[1:])},))"),
}


