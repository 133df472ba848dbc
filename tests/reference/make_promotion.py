"""Write promotion.json: the result dtypes of JAX's type promotion, for funcgrad's tests.

Run where JAX 0.10 is installed (the tests themselves do not need it): ``python tests/reference/make_promotion.py [out.json]``.
jax_enable_x64=True; JAX's default ("standard") promotion.

Layout of promotion.json
    "meta"      versions and settings
    "operands"  a dtype name (an array of ones of shape (2,)) or "py:bool", "py:int", "py:float", "py:complex" (the
                Python scalars True, 2, 2.0, 2+0j)
    "binary"    {op: {LEFT: "RESULT RESULT ..."}}, a result for each right operand
    "unary"     {op: "RESULT RESULT ..."}, a result for each operand

RESULT is a dtype name, with a trailing "*" where the result is weakly typed, or "error" where JAX raises.
"""

import json
import os
import sys
import warnings

os.environ["JAX_PLATFORMS"] = "cpu"

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import jaxlib
import numpy as np

OPERANDS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "bfloat16",
            "float32", "float64", "complex64", "complex128", "py:bool", "py:int", "py:float", "py:complex"]
SCALARS = {"py:bool": True, "py:int": 2, "py:float": 2.0, "py:complex": 2 + 0j}
SPECIAL = {"where": lambda x, y: jnp.where(np.array([True, False]), x, y)}
BINARY = ("add subtract multiply true_divide floor_divide remainder fmod divmod power float_power maximum minimum fmax fmin "
          "arctan2 hypot logaddexp logaddexp2 nextafter copysign heaviside equal less logical_and bitwise_and bitwise_xor "
          "left_shift right_shift gcd isclose where").split()
UNARY = ("exp log1p sin tanh sqrt cbrt sinc abs sign round floor rint negative positive square reciprocal conj real imag "
         "angle isnan isfinite logical_not invert nan_to_num ones_like sum prod mean cumsum cumprod max min argmax var std "
         "any sort median").split()


def operand(name):
    return SCALARS[name] if name in SCALARS else jnp.ones((2,), name)


def result(f, *names):
    """The type by tracing; with one complex operand f is also called, since tracing accepts some calls that then fail."""
    try:
        out = jax.eval_shape(lambda: f(*map(operand, names)))
        if len(names) == 1 and "complex" in names[0]:
            f(operand(names[0]))
    except Exception:
        return "error"
    out = out[0] if isinstance(out, tuple) else out
    return out.dtype.name + ("*" if out.weak_type else "")


def main():
    warnings.simplefilter("ignore")
    functions = {name: SPECIAL.get(name) or getattr(jnp, name) for name in (*BINARY, *UNARY)}
    table = {
        "meta": {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "numpy": np.__version__,
                 "jax_enable_x64": True, "jax_numpy_dtype_promotion": str(jax.config.jax_numpy_dtype_promotion)},
        "operands": OPERANDS,
        "binary": {op: {left: " ".join(result(functions[op], left, right) for right in OPERANDS) for left in OPERANDS}
                   for op in BINARY},
        "unary": {op: " ".join(result(functions[op], x) for x in OPERANDS) for op in UNARY},
    }
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "promotion.json")
    with open(out, "w") as f:
        json.dump(table, f, indent=0)
        f.write("\n")
    print(f"{out}: {len(BINARY)} binary, {len(UNARY)} unary")


if __name__ == "__main__":
    main()
