"""Write promotion.json: the result dtypes of JAX's type promotion, for funcgrad's tests.

Run where JAX 0.10 is installed (the tests themselves do not need it):

    /work/benchvenv/bin/python tests/reference/make_promotion.py [out.json]

jax_enable_x64=True; JAX's default ("standard") promotion.

Layout of promotion.json
    "meta"    versions and settings
    "binary"  {op: {"LEFT,RIGHT": RESULT}}, op one of add, true_divide, power, floor_divide,
              left_shift, where. LEFT and RIGHT are a dtype name (an array of shape (2,)) or
              "py:bool", "py:int", "py:float", "py:complex" (the Python scalars True, 2, 2.0,
              2+0j). "where" is jnp.where(condition, LEFT, RIGHT).
    "unary"   {op: {OPERAND: RESULT}}

RESULT is a dtype name, with a trailing "*" where the result is weakly typed, or "error"
where JAX raises.
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

DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
          "float16", "bfloat16", "float32", "float64", "complex64", "complex128")
SCALARS = {"py:bool": True, "py:int": 2, "py:float": 2.0, "py:complex": 2 + 0j}
OPERANDS = DTYPES + tuple(SCALARS)

BINARY = {
    "add": jnp.add, "true_divide": jnp.true_divide, "power": jnp.power,
    "floor_divide": jnp.floor_divide, "left_shift": jnp.left_shift,
    "where": lambda x, y: jnp.where(np.array([True, False]), x, y),
}
UNARY = {name: getattr(jnp, name) for name in (
    "exp", "sin", "sqrt", "abs", "sign", "round", "floor", "negative", "square", "reciprocal",
    "sum", "prod", "mean", "cumsum", "cumprod", "max", "min", "argmax", "var", "std",
    "real", "imag", "isnan", "logical_not", "invert", "sort", "median", "ones_like")}


def operand(name):
    return SCALARS[name] if name in SCALARS else jnp.ones((2,), name)


def result(f, *names):
    """Call f for real: tracing alone accepts some calls that then fail (argmax of complex)."""
    try:
        out = f(*map(operand, names))
    except Exception:
        return "error"
    return out.dtype.name + ("*" if out.weak_type else "")


def main():
    warnings.simplefilter("ignore")
    table = {
        "meta": {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "numpy": np.__version__,
                 "jax_enable_x64": True, "jax_numpy_dtype_promotion": str(jax.config.jax_numpy_dtype_promotion)},
        "binary": {op: {f"{l},{r}": result(f, l, r) for l in OPERANDS for r in OPERANDS} for op, f in BINARY.items()},
        "unary": {op: {x: result(f, x) for x in OPERANDS} for op, f in UNARY.items()},
    }
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "promotion.json")
    with open(out, "w") as f:
        json.dump(table, f, indent=0, separators=(",", ":"))
        f.write("\n")
    print(f"{out}: {sum(map(len, table['binary'].values()))} binary, "
          f"{sum(map(len, table['unary'].values()))} unary")


if __name__ == "__main__":
    main()
