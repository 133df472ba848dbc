"""The names of what kernel sources may call, known without importing Numba.

In: nothing. Out: ``NAMES`` of scalar functions with the dtype of their arguments, ``STORED`` dtypes, ``CHEAP`` functions.
"""
from __future__ import annotations

STORED = frozenset("f16 bf16 f32 f64 c64 c128 i8 i16 i32 i64 u8 u16 u32 u64 bool".split())
"""The dtypes that kernels read and write."""
COMPUTED = STORED - {"f16", "bf16"}

FLOATS, COMPLEX, INTEGERS = "f32 f64", "c64 c128", "i8 i16 i32 i64 u8 u16 u32 u64"
SCIPY = {
    "i0e i1e ndtri erfcx dawsn expi exp1 spence gamma": 1,
    "gammainc gammaincc beta betaln binom poch jv ive owens_t": 2, "betainc hyp1f1": 3, "hyp2f1": 4,
}
"""Functions of scipy.special that kernels call, and how many arguments they take."""
DEFINED = {
    # vecmath
    "exp exp2 expm1 logistic sinh cosh tanh log log2 log10 log1p asinh acosh atanh": FLOATS,
    "serial_sin serial_cos sin cos tan asin acos atan cbrt erf erfc erf_inv lgamma digamma": FLOATS,
    "atan2 pow hypot logaddexp logaddexp2": FLOATS,
    # vecmath.random
    "threefry_first threefry_second": "u32",
    "normal_quantile": f"f16 bf16 {FLOATS}", "round": "f16 bf16", "multiply_add": "f16",
    "bitcast_f16 bitcast_bf16": "i16 u16", "bitcast_i16 bitcast_u16": "f16 bf16",
    "bitcast_f32": "i32 u32", "bitcast_i32 bitcast_u32": "f32", "bitcast_f64": "i64 u64", "bitcast_i64 bitcast_u64": "f64",
    # scipy_calls
    " ".join(f"scipy_{name}" for names in SCIPY for name in names.split()): FLOATS,
    # scalars
    "plus times isfinite floor ceil trunc rint nextafter complex fma sqrt rsqrt": FLOATS,
    "maximum minimum abs": f"bool {INTEGERS} {FLOATS}",
    "sign fmod floor_divide remainder integer_pow": f"{INTEGERS} {FLOATS}",
    "quotient gcd shift_left shift_right shift_right_logical popcount clz": INTEGERS,
    "divide conj isfinite integer_pow pow sign less less_equal larger smaller exp exp2 expm1 log log1p log2 log10 sqrt rsqrt "
    "logistic sinh cosh tanh sin cos tan asin acos atan asinh acosh atanh": COMPLEX,
    "select": "bool",
}
"""Functions and the dtypes of their first argument."""
NAMES = frozenset([f"{name}_{dtype}" for names, kinds in DEFINED.items() for name in names.split() for dtype in kinds.split()]
                  + [f"convert_{source}_{target}" for source in COMPUTED for target in COMPUTED])
CHEAP = frozenset("plus times maximum minimum abs sign isfinite floor ceil trunc rint nextafter complex fma sqrt rsqrt "
                  "shift_left shift_right shift_right_logical popcount clz integer_pow divide conj less larger smaller "
                  "select convert bitcast round".split())
"""Functions of a few instructions."""
