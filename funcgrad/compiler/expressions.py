"""Scalar expressions: what an equation is inside a kernel, as source.

In: an equation, and the names of its operands. Out: text for Numba, or None where there is no expression for these dtypes;
the equation is then a host step.

    add on int32:  "i32(v0 + v1)"        sin on float16:  "sin_f32(v0)"        0.5 as float32:  "f32(0.5)"
"""
from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.library import CHEAP, NAMES, STORED
from funcgrad.core.jaxpr import Equation
from funcgrad.core.primitive import Primitive

EXPENSIVE = 8
"""What a function such as exp costs, in additions."""


@functools.cache
def stored(dtype: np.dtype) -> str:
    """The name of a dtype in memory."""
    return dtypes.short_name(dtype)


@functools.cache
def computed(dtype: np.dtype) -> str:
    """The name of the dtype in which values of a dtype are computed: narrow floats as float32."""
    name = dtypes.short_name(dtype)
    return "f32" if name in ("f16", "bf16") else name


@functools.cache
def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype in which values of a dtype are summed up."""
    return np.dtype(np.float32) if stored(dtype) in ("f16", "bf16") else dtype


def supported(dtype: np.dtype) -> bool:
    """Whether kernels can hold values of this dtype."""
    return dtypes.short_name(dtype) in STORED


def expressible(equation: Equation, without: str = "") -> bool:
    """Whether an elementwise equation has a scalar expression, one without functions that are named in some way."""
    text = expression(equation, [f"v{i}" for i in range(len(equation.inputs))])
    return text is not None and not (without and without in text)


def is_sum(equation: Equation) -> bool:
    """Whether an equation is the sum of its two operands."""
    return len(equation.inputs) == 2 and expression(equation, "ab") == "a + b"


def expression(equation: Equation, args: Sequence[str]) -> str | None:
    """The scalar expression of an elementwise equation on named operands."""
    return _expression(equation.primitive, tuple([atom.aval.dtype for atom in equation.inputs]), equation.outs[0].aval.dtype,
                       tuple(equation.params.items()), tuple(args))


@functools.lru_cache(maxsize=65536)
def _expression(primitive: Primitive, in_dtypes: tuple, out: np.dtype, params: tuple, args: tuple[str, ...]) -> str | None:
    if not all(map(supported, (*in_dtypes, out))):
        return None
    template = primitive.code
    if isinstance(template, dict):
        kind = dtypes.kind(in_dtypes[0])
        template = next((t for kinds, t in template.items() if kind in kinds), None)
    if callable(template):
        template = template(*in_dtypes, **dict(params))
    if not isinstance(template, str):
        return None
    words = {name: computed(value) if isinstance(value, np.dtype) else value for name, value in params}
    text = _typed(template, computed(in_dtypes[0]), computed(out), words, args)
    if text is not None and stored(out) in ("f16", "bf16") and out != in_dtypes[0]:  # a conversion rounds
        return f"round_{stored(out)}({text})"
    return text


def _typed(template: str, dtype: str, out: str, words: dict[str, Any], args: Sequence[str]) -> str | None:
    """A template with its functions named for a dtype, and integers brought back to their width."""
    missing = []

    def complete(found: re.Match) -> str:
        name = found[1] if found[1] in NAMES else f"{found[1]}_{dtype}"
        if found[1] == "convert":
            name = f"convert_{dtype}_{words['new_dtype']}"
        if name not in NAMES:
            missing.append(name)
        return f"{name}("

    template = re.sub(r"\b([a-z_]\w*)\(", complete, template).replace(", {new_dtype}", "")
    if missing:
        return None
    text = template.format(*args, **words)
    return f"{out}({text})" if out[0] in "iu" and text not in args else text


def literal(value: np.generic) -> str:
    """A constant."""
    name, kind = computed(value.dtype), dtypes.kind(value.dtype)
    if kind == "b":
        return repr(bool(value))
    if kind in "iu":
        return f"{name}({int(value)})"
    if kind == "c":
        return f"{name}(complex({_real(float(value.real))}, {_real(float(value.imag))}))"
    return f"{name}({_real(float(value))})"


def _real(x: float) -> str:
    return "nan" if math.isnan(x) else "inf" if x == math.inf else "-inf" if x == -math.inf else repr(x)


def reducible(equation: Equation) -> bool:
    """Whether a reduction has a combination for its dtype."""
    code, dtype = equation.primitive.code, equation.inputs[0].aval.dtype
    return isinstance(code, tuple) and supported(dtype) and combination(code, dtype, "a", "b") is not None


def combination(code: tuple[str, str], dtype: np.dtype, a: str, b: str) -> str | None:
    """The expression that combines two values of a reduction; sums and products of floats may be reordered."""
    dtype = accumulator(dtype)
    name, kind, template = computed(dtype), dtypes.kind(dtype), code[0]
    if template in ("{0} + {1}", "{0} * {1}"):
        special = {"f": ("plus({0}, {1})", "times({0}, {1})"), "b": ("{0} | {1}", "{0} & {1}")}
        template = special.get(kind, (template, template))["*" in template]
    return _typed(template, name, name, {}, (a, b))


def identity(code: tuple[str, str], dtype: np.dtype) -> str:
    """The value that a reduction starts from."""
    dtype = accumulator(dtype)
    kind, which = dtypes.kind(dtype), code[1]
    if which in ("0", "1"):
        return literal(dtype.type(int(which)))
    if kind == "b":
        return literal(np.bool_(which in ("all_ones", "highest")))
    if which == "all_ones":
        return literal(dtype.type(-1 if kind == "i" else np.iinfo(dtype).max))
    if kind in "iu":
        return literal(dtype.type(np.iinfo(dtype).min if which == "lowest" else np.iinfo(dtype).max))
    return literal(dtype.type(-np.inf if which == "lowest" else np.inf))


def product_template(dtype: np.dtype) -> str:
    """The template of a product of two values."""
    kind = dtypes.kind(dtype)
    return "{0} & {1}" if kind == "b" else f"{computed(dtype)}({{0}} * {{1}})" if kind in "iu" else "{0} * {1}"


def cost(text: str) -> int:
    """About how many additions an expression costs."""
    called = [name for name in re.findall(r"\b([a-z_]\w*)\(", text) if name not in STORED and not is_cheap(name)]
    return 1 + EXPENSIVE * sum(10 if name.startswith("scipy_") else 1 for name in called)


def is_cheap(function: str) -> bool:
    """Whether a function of the library takes only a few instructions."""
    return function.split("_")[0] in CHEAP or function in CHEAP
