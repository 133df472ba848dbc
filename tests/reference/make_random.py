"""Write random.json: what jax.random returns, for funcgrad's tests to compare with.

Run where JAX 0.10 is installed (the tests themselves do not need it):

    /work/benchvenv/bin/python tests/reference/make_random.py [out.json]

Settings: jax_enable_x64=True, default PRNG (threefry2x32), jax_threefry_partitionable=True
(JAX's default), CPU backend.

Layout of random.json
    "meta"   versions and settings
    "cases"  list of {"fn", "group", "key", "kwargs", "out"} or, where JAX raises,
             {"fn", "group", "key", "kwargs", "error": "<exception class>"}

"key" is the two uint32 words of a raw key, passed as a raw uint32[2] array, or null for
PRNGKey and key, which take a seed. The call is jax.random.<fn>(key, **kwargs), so kwargs
use JAX's own parameter names ("PRNGKey"/"key" have {"seed": ...}; the result of "key" is
stored as its key data).

A value is encoded as
    whole Python int, string, bool, null   itself
    Python float                           {"float": hex}
    tuple                                  list
    dtype                                  its name, a string
    array or NumPy scalar                  {"dtype", "shape", "values"} with the values flat in
                                           row-major order: ints and bools as such, floats as
                                           float.hex() of the value (float16 and bfloat16 widened
                                           first, which is exact), complex as [re, im]

"group" says how closely another implementation can be expected to agree:
    exact      integer arithmetic, or float operations that round one way only: every bit
    ulp        elementwise log, erf_inv, exp ... of an exact draw: a few ulp
    reduce     also depends on the order of a sum, or on a linear algebra routine
    rejection  a loop that accepts or rejects on a float comparison: a few ulp where the same
               branch is taken; a draw on the boundary may differ altogether (rare)
"""

import json
import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import jaxlib
import numpy as np

CASES = []


def encode_array(a):
    a = np.asarray(a)
    name = a.dtype.name
    flat = a.reshape(-1)
    if name == "bool":
        values = [bool(v) for v in flat]
    elif np.issubdtype(a.dtype, np.integer):
        values = [int(v) for v in flat]
    elif np.issubdtype(a.dtype, np.complexfloating):
        values = [[float(v.real).hex(), float(v.imag).hex()] for v in flat]
    else:  # float16, bfloat16, float32, float64
        values = [float(v).hex() for v in flat]
    return {"dtype": name, "shape": list(a.shape), "values": values}


def encode(v):
    if v is None or isinstance(v, (bool, str)):
        return v
    if isinstance(v, (np.ndarray, np.generic, jax.Array)):
        return encode_array(v)
    if isinstance(v, int):
        return v
    if isinstance(v, float):
        return {"float": v.hex()}
    if isinstance(v, (tuple, list)):
        return [encode(x) for x in v]
    raise TypeError(type(v))


def add(fn, group, key, **kwargs):
    case = {"fn": fn, "group": group,
            "key": None if key is None else [int(w) for w in np.asarray(key)],
            "kwargs": {k: encode(v) for k, v in kwargs.items()}}
    f = getattr(jax.random, fn)
    try:
        out = f(**kwargs) if key is None else f(jnp.asarray(key), **kwargs)
        if jnp.issubdtype(out.dtype, jax.dtypes.prng_key):
            out = jax.random.key_data(out)
        case["out"] = encode_array(out)
    except Exception as e:  # JAX refuses the call: say so
        case["error"] = type(e).__name__
    CASES.append(case)


def keys():
    k0 = np.array([0, 0], np.uint32)                      # PRNGKey(0)
    k42 = np.array([0, 42], np.uint32)                    # PRNGKey(42)
    k3 = np.array([0xDEADBEEF, 0x80000001], np.uint32)    # both words in use
    return k0, k42, k3


def seeds():
    for s in (0, 1, 42, -1, 2**32 + 5, 2**63 - 1, 2**31, 2**32 - 1, -(2**63), 2**63,
              np.int32(-1), np.int32(7), np.uint32(2**32 - 1), np.int64(-2),
              np.uint64(2**63 + 3), np.int8(-3), np.uint8(200), 1.5):
        add("PRNGKey", "exact", None, seed=s)
        add("key", "exact", None, seed=s)


def key_ops(k):
    add("split", "exact", k)
    for num in (1, 3, 5, (2, 3), (2, 1, 2), 0, ()):
        add("split", "exact", k, num=num)
    for data in (0, 1, 2, 7, 12345, 2**31, 2**32 - 1, 2**32, -1, np.int32(-1), np.int64(2**40 + 9),
                 np.uint8(255)):
        add("fold_in", "exact", k, data=data)
    for dtype in ("uint8", "uint16", "uint32", "uint64"):
        for shape in ((), (1,), (7,), (3, 4), (0,), (2, 1, 3)):
            add("bits", "exact", k, shape=shape, dtype=dtype)
    add("bits", "exact", k, shape=(3,))


FLOATS = ("float16", "bfloat16", "float32", "float64")
SHAPES = ((), (5,), (2, 3))


def basics(k):
    for dtype in FLOATS:
        for shape in ((), (1,), (7,), (3, 4)):
            add("uniform", "exact", k, shape=shape, dtype=dtype)
            add("normal", "ulp", k, shape=shape, dtype=dtype)
        # Powers of two for the width: the product is exact, so one rounding in all.
        for lo, hi in ((-1.0, 1.0), (0.0, 4.0), (2.0, 2.5)):
            add("uniform", "exact", k, shape=(7,), dtype=dtype, minval=lo, maxval=hi)
        # One rounding where the compiler fuses multiply and add (XLA on CPU does for float16,
        # float32 and float64), two where it does not (bfloat16; NumPy).
        for lo, hi in ((-3.0, 5.5), (0.1, 0.7), (-100.0, -3.0), (1.0, 1.0), (2.0, 1.0)):
            add("uniform", "ulp", k, shape=(7,), dtype=dtype, minval=lo, maxval=hi)
    add("uniform", "ulp", k, shape=(2, 3), dtype="float32",
        minval=np.array([-1.0, 0.0, 3.0], np.float32), maxval=np.array([[2.0], [4.0]], np.float32))
    add("uniform", "exact", k, shape=(2,))
    add("uniform", "exact", k, shape=(2,), dtype="int32")
    for dtype in ("complex64", "complex128"):
        for shape in SHAPES:
            add("normal", "ulp", k, shape=shape, dtype=dtype)
    add("normal", "ulp", k, shape=(2,))
    # Enough draws to reach the tails of the inverse error function.
    add("normal", "ulp", k, shape=(300,), dtype="float32")
    add("normal", "ulp", k, shape=(300,), dtype="float64")


def integers(k):
    ranges = {
        "int8": ((0, 10), (-128, 127), (-128, 128), (-5, 5), (5, 5), (7, 3), (-1000, 1000)),
        "int16": ((0, 10), (-2**15, 2**15), (-300, 1000)),
        "int32": ((0, 10), (-5, 3), (0, 65536), (0, 65537), (0, 100003), (-2**31, 2**31 - 1), (-2**31, 2**31),
                  (3, 3), (4, 2), (-2**40, 2**40)),
        "int64": ((0, 10), (-5, 3), (0, 2**32), (0, 2**32 + 1), (-2**63, 2**63 - 1), (10**12, 10**12 + 7)),
        "uint8": ((0, 10), (0, 255), (0, 256), (3, 200), (-5, 5)),
        "uint16": ((0, 10), (0, 2**16)),
        "uint32": ((0, 10), (0, 2**32 - 1), (0, 2**32), (7, 2**31 + 9), (-5, 5)),
        "uint64": ((0, 10), (0, 2**63 - 1), (5, 2**40)),
    }
    for dtype, rs in ranges.items():
        for lo, hi in rs:
            add("randint", "exact", k, shape=(6,), minval=lo, maxval=hi, dtype=dtype)
        add("randint", "exact", k, shape=(), minval=0, maxval=100, dtype=dtype)
        add("randint", "exact", k, shape=(2, 3), minval=np.array([0, 1, 2], np.int32),
            maxval=np.array([[20], [120]], np.int32), dtype=dtype)
    add("randint", "exact", k, shape=(6,), minval=np.uint64(0), maxval=np.uint64(2**64 - 1), dtype="uint64")
    add("randint", "exact", k, shape=(6,), minval=np.int64(-2**63), maxval=np.uint64(2**63), dtype="int64")
    add("randint", "exact", k, shape=(6,), minval=0, maxval=2**63, dtype="int64")
    add("randint", "exact", k, shape=(3,), minval=0, maxval=10)
    add("randint", "exact", k, shape=(3,), minval=0.5, maxval=9.9, dtype="int32")
    add("randint", "exact", k, shape=(3,), minval=0, maxval=10, dtype="float32")
    add("randint", "exact", k, shape=(), minval=np.zeros(3, np.int32), maxval=10)


def choices(k):
    f32 = np.float32
    add("bernoulli", "exact", k)
    add("bernoulli", "exact", k, shape=(8,))
    add("bernoulli", "exact", k, p=0.3, shape=(8,))
    add("bernoulli", "exact", k, p=f32(0.3), shape=(8,))
    add("bernoulli", "exact", k, p=np.array([0.1, 0.5, 0.9, 0.0, 1.0], f32))
    add("bernoulli", "exact", k, p=np.array([0.1, 0.5, 0.9, 0.0, 1.0], np.float64), shape=(2, 5))
    add("bernoulli", "exact", k, p=np.array([0.1, 0.5, 0.9], np.float16))
    add("bernoulli", "exact", k, p=f32(0.3), shape=(8,), mode="high")
    add("bernoulli", "exact", k, p=0.3, shape=(8,), mode="high")
    add("bernoulli", "exact", k, p=1, shape=(2,))
    add("bernoulli", "exact", k, p=np.zeros(3, f32), shape=(2,))
    for dtype in ("int8", "int32", "int64", "float32", "float64", "complex64"):
        add("rademacher", "exact", k, shape=(6,), dtype=dtype)
    add("rademacher", "exact", k)
    logits = np.array([[0.5, -1.0, 2.0, 0.0], [1.0, 1.0, -np.inf, 3.0], [0.0, 0.0, 0.0, 0.0]], f32)
    for dt in (f32, np.float64):
        lg = logits.astype(dt)
        add("categorical", "exact", k, logits=lg[0])
        add("categorical", "exact", k, logits=lg)
        add("categorical", "exact", k, logits=lg, axis=0)
        add("categorical", "exact", k, logits=lg, axis=1, shape=(5, 3))
        add("categorical", "exact", k, logits=lg, axis=-1, shape=(2, 2, 3))
        add("categorical", "exact", k, logits=lg[0], shape=(7,))
        add("categorical", "exact", k, logits=lg[0], shape=(2, 4), mode="high")
        add("categorical", "exact", k, logits=lg[0], shape=(3,), replace=False)
        add("categorical", "exact", k, logits=lg, axis=-1, shape=(2, 3), replace=False)
        add("categorical", "exact", k, logits=lg, axis=0, shape=(2, 4), replace=False)
    add("categorical", "exact", k, logits=lg, shape=(4,))
    add("categorical", "exact", k, logits=logits[0], shape=(5,), replace=False)
    for n in (0, 1, 2, 10, 100, 2000):
        add("permutation", "exact", k, x=n)
    x = np.arange(12, dtype=np.int32).reshape(4, 3)
    add("permutation", "exact", k, x=np.linspace(0, 1, 9).astype(f32))
    add("permutation", "exact", k, x=x)
    add("permutation", "exact", k, x=x, axis=1)
    add("permutation", "exact", k, x=x, axis=-1)
    add("permutation", "exact", k, x=x, independent=True)
    add("permutation", "exact", k, x=x, axis=1, independent=True)
    add("permutation", "exact", k, x=1.5)
    p5 = np.array([0.1, 0.2, 0.05, 0.4, 0.25])
    add("choice", "exact", k, a=5)
    add("choice", "exact", k, a=5, shape=(4,))
    add("choice", "exact", k, a=5, shape=(2, 2), replace=False)
    add("choice", "exact", k, a=5, shape=(6,), replace=False)
    add("choice", "exact", k, a=np.array([3.5, -1.0, 8.0], f32), shape=(6,))
    add("choice", "exact", k, a=x, shape=(3,))
    add("choice", "exact", k, a=x, shape=(2,), axis=1)
    add("choice", "exact", k, a=x, shape=(2,), axis=1, replace=False)
    add("choice", "exact", k, a=x, shape=(), axis=0)
    for p in (p5, p5.astype(f32)):
        add("choice", "exact", k, a=5, shape=(8,), p=p)
        add("choice", "exact", k, a=5, shape=(3,), p=p, replace=False)
        add("choice", "exact", k, a=5, shape=(3,), p=p, replace=False, mode="high")
        add("choice", "exact", k, a=np.arange(10, 15, dtype=np.int32), shape=(2, 3), p=p)
    add("choice", "exact", k, a=5, shape=(0,))
    add("choice", "exact", k, a=5, shape=(3,), p=p5[:4])


def elementwise(k):
    for dtype in FLOATS:
        for fn in ("exponential", "gumbel", "laplace", "logistic", "cauchy"):
            for shape in SHAPES:
                add(fn, "ulp", k, shape=shape, dtype=dtype)
        for lo, hi in ((-1.0, 1.0), (-2.0, 0.5), (0.5, 3.0), (-np.inf, 0.0)):
            add("truncated_normal", "ulp", k, lower=lo, upper=hi, shape=(5,), dtype=dtype)
    for mode in ("low", "high", "highest", "other"):
        for dtype in ("float32", "float64"):
            add("gumbel", "ulp", k, shape=(5,), dtype=dtype, mode=mode)
    f32 = np.float32
    add("truncated_normal", "ulp", k, lower=np.array([-1.0, 0.0, 2.0], f32), upper=f32(2.5), dtype="float32")
    add("truncated_normal", "ulp", k, lower=4.0, upper=5.0, shape=(5,), dtype="float32")
    for dtype in ("float32", "float64"):
        np_t = np.dtype(dtype).type
        a3 = np.array([0.5, 1.0, 4.0], np_t)
        add("truncated_normal", "ulp", k, lower=-1.0, upper=2.0, dtype=dtype)
        for shape in SHAPES:
            add("maxwell", "reduce", k, shape=shape, dtype=dtype)
            add("double_sided_maxwell", "reduce", k, loc=0.5, scale=2.0, shape=shape, dtype=dtype)
            add("weibull_min", "ulp", k, scale=2.0, concentration=1.5, shape=shape, dtype=dtype)
            add("pareto", "ulp", k, b=np_t(3.0), shape=shape, dtype=dtype)
            add("rayleigh", "ulp", k, scale=np_t(2.0), shape=shape, dtype=dtype)
            add("wald", "ulp", k, mean=np_t(1.5), shape=shape, dtype=dtype)
            add("lognormal", "ulp", k, sigma=np_t(0.7), shape=shape, dtype=dtype)
            add("triangular", "ulp", k, left=np_t(-1.0), mode=np_t(0.5), right=np_t(2.0), shape=shape, dtype=dtype)
            add("geometric", "ulp", k, p=np_t(0.3), shape=shape, dtype="int32")
        add("pareto", "ulp", k, b=a3, dtype=dtype)
        add("rayleigh", "ulp", k, scale=a3, dtype=dtype)
        add("wald", "ulp", k, mean=a3, dtype=dtype)
        add("lognormal", "ulp", k, sigma=a3, dtype=dtype)
        add("geometric", "ulp", k, p=np.array([0.1, 0.5, 0.9], np_t))
        add("orthogonal", "reduce", k, n=3, dtype=dtype)
        add("orthogonal", "reduce", k, n=2, shape=(2,), dtype=dtype)
        add("orthogonal", "reduce", k, n=2, m=3, dtype=dtype)
        add("orthogonal", "reduce", k, n=3, m=2, dtype=dtype)
        mean = np.array([1.0, -2.0, 0.5], np_t)
        cov = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]], np_t)
        for method in ("cholesky", "eigh", "svd"):
            for shape in (None, (2,), (2, 3)):
                add("multivariate_normal", "reduce", k, mean=mean, cov=cov, shape=shape, dtype=dtype, method=method)
        add("multivariate_normal", "reduce", k, mean=np.stack([mean, -mean]), cov=cov, dtype=dtype)
        add("multivariate_normal", "reduce", k, mean=mean, cov=cov, shape=(2,), dtype=dtype, method="other")


def rejection(k):
    for dtype in ("float32", "float64"):
        np_t = np.dtype(dtype).type
        a3 = np.array([0.3, 1.0, 7.5], np_t)
        for shape in SHAPES:
            for a in (0.4, 1.0, 3.7):
                add("gamma", "rejection", k, a=np_t(a), shape=shape, dtype=dtype)
                add("loggamma", "rejection", k, a=np_t(a), shape=shape, dtype=dtype)
            add("beta", "rejection", k, a=np_t(0.7), b=np_t(2.0), shape=shape, dtype=dtype)
            add("dirichlet", "rejection", k, alpha=a3, shape=shape, dtype=dtype)
            add("t", "rejection", k, df=np_t(4.0), shape=shape, dtype=dtype)
            add("chisquare", "rejection", k, df=np_t(3.0), shape=shape, dtype=dtype)
            add("f", "rejection", k, dfnum=np_t(3.0), dfden=np_t(6.0), shape=shape, dtype=dtype)
            add("generalized_normal", "rejection", k, p=1.5, shape=shape, dtype=dtype)
            add("ball", "rejection", k, d=3, p=2, shape=shape, dtype=dtype)
            add("ball", "rejection", k, d=2, p=1.5, shape=shape, dtype=dtype)
            for n, p in ((10.0, 0.3), (100.0, 0.4), (50.0, 0.8), (1000.0, 0.005)):
                add("binomial", "rejection", k, n=np_t(n), p=np_t(p), shape=shape, dtype=dtype)
        add("gamma", "rejection", k, a=a3, dtype=dtype)
        add("gamma", "rejection", k, a=a3, shape=(2, 3), dtype=dtype)
        add("loggamma", "rejection", k, a=np.array([1e-3, 0.02, 50.0], np_t), dtype=dtype)
        add("beta", "rejection", k, a=a3, b=np_t(1.5), dtype=dtype)
        add("dirichlet", "rejection", k, alpha=a3, dtype=dtype)
        add("t", "rejection", k, df=a3, dtype=dtype)
        add("chisquare", "rejection", k, df=a3, dtype=dtype)
        add("f", "rejection", k, dfnum=a3, dfden=np_t(2.0), dtype=dtype)
        add("binomial", "rejection", k, n=np.array([5, 40, 400], np_t), p=np.array([0.5, 0.6, 0.01], np_t), dtype=dtype)
        add("binomial", "rejection", k, n=np.array([np.nan, -1, np.inf, 5, 5], np_t),
            p=np.array([0.5, 0.5, 0.5, np.nan, -0.1], np_t), dtype=dtype)
        add("multinomial", "rejection", k, n=np_t(20.0), p=np.array([0.2, 0.5, 0.3], np_t), dtype=dtype)
        add("multinomial", "rejection", k, n=np_t(20.0), p=np.array([0.2, 0.5, 0.3], np_t), shape=(2, 3), dtype=dtype)
    add("gamma", "rejection", k, a=2.5)
    for dtype in ("int32", "int64", "uint8"):
        for shape in SHAPES:
            for lam in (0.5, 4.0, 9.99, 10.0, 30.0, 1000.0):
                add("poisson", "rejection", k, lam=lam, shape=shape, dtype=dtype)
    add("poisson", "rejection", k, lam=np.array([0.0, 0.2, 3.0, 12.0, 250.0], np.float32))
    add("poisson", "rejection", k, lam=np.array([0.0, 3.0, 12.0], np.float64), shape=(2, 3), dtype="int32")


def main():
    seeds()
    ks = keys()
    for k in ks:
        key_ops(k)
        basics(k)
        integers(k)
        choices(k)
    for k in ks[1:]:
        elementwise(k)
    rejection(ks[1])
    meta = {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "numpy": np.__version__,
            "jax_enable_x64": True, "impl": str(jax.random.key_impl(jax.random.key(0))),
            "jax_threefry_partitionable": bool(jax.config.jax_threefry_partitionable),
            "platform": jax.default_backend()}
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "random.json")
    with open(out, "w") as f:
        f.write('{"meta": ' + json.dumps(meta) + ',\n"cases": [\n')
        f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in CASES))
        f.write("\n]}\n")
    errors = sorted({(c["fn"], c["error"]) for c in CASES if "error" in c})
    print(f"{out}: {len(CASES)} cases, {sum('error' in c for c in CASES)} of them errors: {errors}")


if __name__ == "__main__":
    main()
