"""Bits read as a dtype of another width, and gamma draws by rejection.

In: an equation of ``bitcast_parts`` or ``random_gamma``. Out: a kernel.
"""
from __future__ import annotations

from funcgrad import dtypes
from funcgrad.compiler.natives import NATIVES, NativeKernel
from funcgrad.compiler.natives.rows import PIECE, pieces, text
from funcgrad.core.jaxpr import Equation, Literal

DRAW = 1000
"""What a gamma draw costs."""


def same_bytes(equation: Equation) -> NativeKernel | None:
    """A copy: the parts of an element lie side by side, the least significant first, as the processor has them."""
    x, = equation.inputs
    if type(x) is Literal:
        return None
    lines = ["x = pointer_u8(pointers, 0)", "y = pointer_u8(pointers, 1)", "for r in range(start, stop):", "    y[r] = x[r]"]
    return NativeKernel(text(lines), [], x.aval.size * x.aval.dtype.itemsize, 16 * PIECE)


def _split(key: str, *names: str) -> list[str]:
    """New keys from one; a key is a pair of words, such as key0 and key1."""
    hashes = [f"h{2 * i + w} = threefry_{which}_u32({key}0, {key}1, u32(0), u32({i}))"
              for i in range(len(names)) for w, which in enumerate(("first", "second"))]
    return hashes + [f"{name}{w} = h{2 * i + w}" for i, name in enumerate(names) for w in range(2)]


def _uniform(name: str, key: str, dtype: str) -> list[str]:
    """A draw from [0, 1): random bits as the fraction of a number from [1, 2)."""
    lines = _split(key, "word")
    if dtype == "f64":
        return [*lines, "bits = u64(word0) * u64(4294967296) + u64(word1)",
                f"{name} = bitcast_u64_f64(shift_right_logical_u64(bits, u64(12)) | u64({0x3FF << 52})) - 1.0"]
    return [*lines, "bits = shift_right_logical_u32(u32(word0 ^ word1), u32(9))",
            f"{name} = bitcast_u32_f32(u32(bits | u32({0x7F << 23}))) - f32(1.0)"]


def gamma(equation: Equation) -> NativeKernel | None:
    """Each row draws until a proposal is accepted, as ``ops/random_gamma.py`` does it; narrow floats are the host's."""
    aval = equation.outs[0].aval
    if aval.dtype.itemsize < 4 or any(type(x) is Literal for x in equation.inputs):
        return None
    f = dtypes.short_name(aval.dtype)
    least = -1 + 2.0 ** -(24 if f == "f32" else 53)
    propose = [
        *_split("key", "key", "normal", "other"), f"v = {f}(-1.0)", "while v <= zero:",
        *["    " + line for line in [
            *_split("normal", "normal", "draw"), *_uniform("u", "draw", f),
            f"x = normal_quantile_{f}(u * {f}(2.0) + {f}({least!r}))", "v = one + x * c"]],
        "x = x * x", "v = v * v * v", *_uniform("u", "other", f),
        f"again = (u >= one - {f}(0.0331) * (x * x)) & "
        f"(log_{f}(u) >= x * {f}(0.5) + d * ((one - v) + log_{f}(v)))"]
    if equation.params["log_space"]:
        end = [f"rest = log1p_{f}(-u)", "if a < one and rest != zero:", "    rest = rest * (one / a)",
               "else:", "    rest = zero", f"y[r] = log_{f}(d) + log_{f}(v) + rest"]
    else:
        end = ["boost = one", "if a < one:", f"    boost = pow_{f}(one - u, one / a)", "y[r] = d * v * boost"]
    body = [
        "a = p[r]", "word0 = k0[r]", "word1 = k1[r]", *_split("word", "key", "last"),
        f"d = (a + one if a < one else a) - {f}({1 / 3!r})", f"c = {f}({1 / 3!r}) / sqrt_{f}(d)",
        "v = one", f"again = isfinite_{f}(d)", "while again:", *["    " + line for line in propose],
        *_uniform("u", "last", f), *end]
    lines = ["k0 = pointer_u32(pointers, 0)", "k1 = pointer_u32(pointers, 1)", f"p = pointer_{f}(pointers, 2)",
             f"y = pointer_{f}(pointers, 3)", f"one = {f}(1.0)", f"zero = {f}(0.0)",
             "for r in range(start, stop):", *["    " + line for line in body]]
    return NativeKernel(text(lines), [], aval.size, pieces(aval.size, DRAW))


NATIVES["random_gamma"] = gamma
NATIVES["same_bytes"] = same_bytes
