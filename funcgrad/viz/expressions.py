"""Programs and values as short texts: ``tanh(n)``, ``dz @ w.T``, ``[1 2.5 3]``.

In: an equation or a program, and names for its variables. Out: what a person would write.

    b = mul a 2.0; c = add b a    ->    a * 2 + a
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var
from funcgrad.viz.record import Recording

ATOM, POWER, UNARY, PRODUCT, SUM, COMPARISON = 9, 5, 4, 3, 2, 1
INFIX = {
    "add": ("+", SUM), "sub": ("-", SUM), "mul": ("*", PRODUCT), "div": ("/", PRODUCT), "pow": ("**", POWER),
    "rem": ("%", PRODUCT), "eq": ("==", COMPARISON), "ne": ("!=", COMPARISON), "lt": ("<", COMPARISON),
    "le": ("<=", COMPARISON), "gt": (">", COMPARISON), "ge": (">=", COMPARISON), "and": ("&", SUM), "or": ("|", SUM),
    "xor": ("^", SUM),
}
SHORT = {"reduce_sum": "sum", "reduce_max": "max", "reduce_min": "min", "reduce_prod": "prod", "broadcast_in_dim": "broadcast",
         "logistic": "sigmoid", "max": "maximum", "min": "minimum", "concatenate": "concatenate", "dot_general": "dot",
         "custom_jvp_call": "custom_jvp", "custom_vjp_call": "custom_vjp"}

Text = tuple[str, int]
"""A text, and how strongly its outermost operation binds."""


def names_of(recording: Recording) -> dict[Var, str]:
    """A name of its own for every variable: the user's, with a number where it repeats, or v1, v2, ..."""
    jaxpr = recording.jaxpr
    taken: Counter[str] = Counter()
    reserved = set(recording.names.values())
    result: dict[Var, str] = {}
    count = 0
    out = jaxpr.outs[0] if len(jaxpr.outs) == 1 else None
    if type(out) is Var and out not in recording.names and out not in jaxpr.const_vars and "out" not in reserved:
        result[out] = "out"
    for v in (*jaxpr.in_vars, *jaxpr.const_vars, *[v for e in jaxpr.equations for v in e.outs]):
        name = recording.names.get(v)
        if v in result:
            continue
        if name is None:
            count += 1
            while f"v{count}" in reserved:
                count += 1
            result[v] = f"v{count}"
            continue
        taken[name] += 1
        while taken[name] > 1 and f"{name}_{taken[name]}" in reserved:
            taken[name] += 1
        result[v] = name if taken[name] == 1 else f"{name}_{taken[name]}"
    return result


def operation(equation: Equation, names: dict[Var, str]) -> str:
    """The right side of an equation.

    >>> program = fg.make_jaxpr(lambda x: x * 2.0)(1.0)
    >>> operation(program.equations[0], {program.in_vars[0]: "x"})
    'x * 2'
    """
    return _operation(equation, lambda atom: _literal(atom) if type(atom) is Literal else (names[atom], ATOM))[0]


def expression(jaxpr: Jaxpr, inputs: Sequence[str], known: Callable[[Equation, list[str]], str | None] | None = None) -> str:
    """The first result of a program as one expression in its inputs.

    ``known`` may give a name for what an equation computes from operands with these texts.
    """
    texts: dict[Var, Text] = {v: (name, ATOM) for v, name in zip(jaxpr.in_vars, inputs, strict=True)}
    for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True):
        texts[v] = (value_text(c), ATOM)

    def operand(atom: Atom) -> Text:
        return _literal(atom) if type(atom) is Literal else texts[atom]

    for equation in jaxpr.equations:
        name = known(equation, [operand(a)[0] for a in equation.inputs]) if known else None
        text = (name, ATOM) if name else _operation(equation, operand)
        texts.update((v, text) for v in equation.outs)
    return operand(jaxpr.outs[0])[0]


def _operation(equation: Equation, operand: Callable[[Atom], Text]) -> Text:
    name, params = equation.primitive.name, equation.params
    args = [operand(a) for a in equation.inputs]
    if name in INFIX and len(args) == 2:
        sign, level = INFIX[name]
        left, right = args
        return f"{_bracket(left, level + (name == 'pow'))} {sign} {_bracket(right, level + 1)}", level
    if name == "neg":
        return f"-{_bracket(args[0], UNARY)}", UNARY
    if name == "not":
        return f"~{_bracket(args[0], UNARY)}", UNARY
    if name in ("integer_pow", "square"):
        return f"{_bracket(args[0], POWER + 1)} ** {params.get('y', 2)}", POWER
    if name == "dot_general" and (sides := _transposed(equation)):
        left, right = [(f"{_bracket(x, ATOM)}.T", ATOM) if flip else x for x, flip in zip(args, sides, strict=True)]
        return f"{_bracket(left, PRODUCT)} @ {_bracket(right, PRODUCT + 1)}", PRODUCT
    if name == "transpose" and len(params["permutation"]) == 2:
        return f"{_bracket(args[0], ATOM)}.T", ATOM
    if name == "select_n" and len(args) == 3:
        args = [args[0], args[2], args[1]]
        name = "where"
    if name == "slice":
        return f"{_bracket(args[0], ATOM)}[{_slices(equation)}]", ATOM
    if name == "convert_element_type":
        name = dtypes.short_name(params["new_dtype"])
    texts = [text for text, _ in args]
    axes = params.get("axes")
    if name.startswith("reduce_") and axes is not None and len(axes) < len(equation.inputs[0].aval.shape):
        texts.append(f"axis={axes[0] if len(axes) == 1 else axes}")
    return f"{SHORT.get(name, name)}({', '.join(texts)})", ATOM


def _bracket(text: Text, level: int) -> str:
    return text[0] if text[1] >= level else f"({text[0]})"


def _transposed(equation: Equation) -> tuple[bool, bool] | None:
    """Which operands of a contraction are transposed in a matrix product that does the same; None if there is none."""
    (left, right), batch = equation.params["dimension_numbers"]
    a, b = [len(atom.aval.shape) for atom in equation.inputs]
    if len(left) != 1 or any(batch) or b > 2 or a > 2 and left != (a - 1,):
        return None
    return a == 2 and left == (0,), b == 2 and right == (1,)


def _slices(equation: Equation) -> str:
    params, shape = equation.params, equation.inputs[0].aval.shape
    parts = []
    for start, stop, step, size in zip(params["start_indices"], params["limit_indices"], params["strides"], shape, strict=True):
        text = f"{start or ''}:{'' if stop == size else stop}"
        parts.append(text if step == 1 else f"{text}:{step}")
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return ", ".join(parts)


def _literal(atom: Literal) -> Text:
    text = number_text(atom.value)
    return text, UNARY if text.startswith("-") else ATOM


# ---------------------------------------------------------------- values


def number_text(x: Any) -> str:
    """A number with four digits: ``0.7071``, ``2``, ``1.5e+10``, ``True``."""
    x = np.asarray(x)[()]
    kind = dtypes.kind(x.dtype)
    if kind == "b":
        return str(bool(x))
    if kind in "iu":
        return str(int(x))
    if kind == "c":
        return f"({complex(x):.4g})"
    text = f"{float(x):.4g}"
    return "0" if text == "-0" and x == 0 and not np.signbit(x) else text


def value_text(x: Any, most: int = 6) -> str:
    """A small array as text: ``[1 2; 3 4]`` has a row for each semicolon; a large one as its type.

    >>> value_text(fnp.array([[1.0, 2.0], [3.0, 4.5]]))
    '[1 2; 3 4.5]'
    """
    shape = np.shape(x)
    data = np.asarray(x)
    if not shape:
        return number_text(data)
    if not is_small(x, most):
        return f"{dtypes.short_name(data.dtype)}[{','.join(map(str, shape))}]"
    return f"[{'; '.join(' '.join(map(number_text, row)) for row in data.reshape(-1, shape[-1]))}]"


def is_small(x: Any, most: int = 6) -> bool:
    """Whether an array is shown by its elements."""
    return 0 < np.size(x) <= most and np.ndim(x) <= 2


def short(text: str, most: int) -> str:
    """A text with its middle left out if it is long.

    >>> short("params['encoder']['weight']", 15)
    "params[…eight']"
    """
    if len(text) <= most:
        return text
    tail = most // 2
    return f"{text[:most - 1 - tail]}…{text[-tail:]}"


