"""The Python array API standard (2024.12): names, signatures, dtypes of results, special cases of floating point numbers."""
from __future__ import annotations

import inspect
import math
from itertools import product

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as xp

# The functions of https://data-apis.org/array-api/2024.12 with their signatures.
SIGNATURES = """
__array_namespace_info__()
abs(x, /) acos(x, /) acosh(x, /) add(x1, x2, /) all(x, /, *, axis=None, keepdims=False) any(x, /, *, axis=None, keepdims=False)
arange(start, /, stop=None, step=1, *, dtype=None, device=None) argmax(x, /, *, axis=None, keepdims=False)
argmin(x, /, *, axis=None, keepdims=False) argsort(x, /, *, axis=-1, descending=False, stable=True)
asarray(obj, /, *, dtype=None, device=None, copy=None) asin(x, /) asinh(x, /) astype(x, dtype, /, *, copy=True, device=None)
atan(x, /) atan2(x1, x2, /) atanh(x, /) bitwise_and(x1, x2, /) bitwise_invert(x, /) bitwise_left_shift(x1, x2, /)
bitwise_or(x1, x2, /) bitwise_right_shift(x1, x2, /) bitwise_xor(x1, x2, /) broadcast_arrays(*arrays) broadcast_to(x, /, shape)
can_cast(from_, to, /) ceil(x, /) clip(x, /, min=None, max=None) concat(arrays, /, *, axis=0) conj(x, /) copysign(x1, x2, /)
cos(x, /) cosh(x, /) count_nonzero(x, /, *, axis=None, keepdims=False)
cumulative_prod(x, /, *, axis=None, dtype=None, include_initial=False)
cumulative_sum(x, /, *, axis=None, dtype=None, include_initial=False)
diff(x, /, *, axis=-1, n=1, prepend=None, append=None) divide(x1, x2, /) empty(shape, *, dtype=None, device=None)
empty_like(x, /, *, dtype=None, device=None) equal(x1, x2, /) exp(x, /) expand_dims(x, /, *, axis) expm1(x, /)
eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None) finfo(type, /) flip(x, /, *, axis=None) floor(x, /)
floor_divide(x1, x2, /) from_dlpack(x, /, *, device=None, copy=None) full(shape, fill_value, *, dtype=None, device=None)
full_like(x, /, fill_value, *, dtype=None, device=None) greater(x1, x2, /) greater_equal(x1, x2, /) hypot(x1, x2, /)
iinfo(type, /) imag(x, /) isdtype(dtype, kind) isfinite(x, /) isinf(x, /) isnan(x, /) less(x1, x2, /) less_equal(x1, x2, /)
linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True) log(x, /) log10(x, /) log1p(x, /) log2(x, /)
logaddexp(x1, x2, /) logical_and(x1, x2, /) logical_not(x, /) logical_or(x1, x2, /) logical_xor(x1, x2, /) matmul(x1, x2, /)
matrix_transpose(x, /) max(x, /, *, axis=None, keepdims=False) maximum(x1, x2, /) mean(x, /, *, axis=None, keepdims=False)
meshgrid(*arrays, indexing='xy') min(x, /, *, axis=None, keepdims=False) minimum(x1, x2, /) moveaxis(x, source, destination, /)
multiply(x1, x2, /) negative(x, /) nextafter(x1, x2, /) nonzero(x, /) not_equal(x1, x2, /)
ones(shape, *, dtype=None, device=None) ones_like(x, /, *, dtype=None, device=None) permute_dims(x, /, axes) positive(x, /)
pow(x1, x2, /) prod(x, /, *, axis=None, dtype=None, keepdims=False) real(x, /) reciprocal(x, /) remainder(x1, x2, /)
repeat(x, repeats, /, *, axis=None) reshape(x, /, shape, *, copy=None) result_type(*arrays_and_dtypes)
roll(x, /, shift, *, axis=None) round(x, /) searchsorted(x1, x2, /, *, side='left', sorter=None) sign(x, /) signbit(x, /)
sin(x, /) sinh(x, /) sort(x, /, *, axis=-1, descending=False, stable=True) sqrt(x, /) square(x, /) squeeze(x, /, axis)
stack(arrays, /, *, axis=0) std(x, /, *, axis=None, correction=0.0, keepdims=False) subtract(x1, x2, /)
sum(x, /, *, axis=None, dtype=None, keepdims=False) take(x, indices, /, *, axis=None) take_along_axis(x, indices, /, *, axis=-1)
tan(x, /) tanh(x, /) tensordot(x1, x2, /, *, axes=2) tile(x, repetitions, /) tril(x, /, *, k=0) triu(x, /, *, k=0) trunc(x, /)
unique_all(x, /) unique_counts(x, /) unique_inverse(x, /) unique_values(x, /) unstack(x, /, *, axis=0)
var(x, /, *, axis=None, correction=0.0, keepdims=False) vecdot(x1, x2, /, *, axis=-1) where(condition, x1, x2, /)
zeros(shape, *, dtype=None, device=None) zeros_like(x, /, *, dtype=None, device=None)
fft.fft(x, /, *, n=None, axis=-1, norm='backward')
fft.ifft(x, /, *, n=None, axis=-1, norm='backward') fft.fftn(x, /, *, s=None, axes=None, norm='backward')
fft.ifftn(x, /, *, s=None, axes=None, norm='backward') fft.rfft(x, /, *, n=None, axis=-1, norm='backward')
fft.irfft(x, /, *, n=None, axis=-1, norm='backward') fft.rfftn(x, /, *, s=None, axes=None, norm='backward')
fft.irfftn(x, /, *, s=None, axes=None, norm='backward') fft.hfft(x, /, *, n=None, axis=-1, norm='backward')
fft.ihfft(x, /, *, n=None, axis=-1, norm='backward') fft.fftfreq(n, /, *, d=1.0, dtype=None, device=None)
fft.rfftfreq(n, /, *, d=1.0, dtype=None, device=None) fft.fftshift(x, /, *, axes=None) fft.ifftshift(x, /, *, axes=None)
linalg.cholesky(x, /, *, upper=False) linalg.cross(x1, x2, /, *, axis=-1) linalg.det(x, /) linalg.diagonal(x, /, *, offset=0)
linalg.eigh(x, /) linalg.eigvalsh(x, /) linalg.inv(x, /) linalg.matmul(x1, x2, /)
linalg.matrix_norm(x, /, *, keepdims=False, ord='fro') linalg.matrix_power(x, n, /) linalg.matrix_rank(x, /, *, rtol=None)
linalg.matrix_transpose(x, /) linalg.outer(x1, x2, /) linalg.pinv(x, /, *, rtol=None) linalg.qr(x, /, *, mode='reduced')
linalg.slogdet(x, /) linalg.solve(x1, x2, /) linalg.svd(x, /, *, full_matrices=True) linalg.svdvals(x, /)
linalg.tensordot(x1, x2, /, *, axes=2) linalg.trace(x, /, *, offset=0, dtype=None) linalg.vecdot(x1, x2, /, *, axis=-1)
linalg.vector_norm(x, /, *, axis=None, keepdims=False, ord=2)
"""


def entries(text):
    """The signatures of a table, one a string."""
    return [part.strip() + ")" for part in text.split(")") if part.strip()]


@pytest.mark.parametrize("entry", entries(SIGNATURES))
def test_signature(entry):
    """The function can be called in every form that the standard gives it, and has the standard's defaults."""
    name, _, arguments = entry.partition("(")
    function = xp
    for part in name.split("."):
        function = getattr(function, part)
    namespace = {}
    exec(f"def f({arguments}: pass", namespace)
    standard, ours = inspect.signature(namespace["f"]), inspect.signature(function)
    positional, named = [], {}
    for p in standard.parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            positional += [0, 0]
        elif p.kind is p.KEYWORD_ONLY:
            named[p.name] = 0
        else:
            positional.append(0)
            if p.kind is p.POSITIONAL_OR_KEYWORD and name not in ("isdtype", "full"):
                others = {q.name: 0 for q in standard.parameters.values() if q.kind is q.POSITIONAL_OR_KEYWORD}
                ours.bind(*[0 for q in standard.parameters.values() if q.kind is q.POSITIONAL_ONLY], **others)
    ours.bind(*positional, **named)
    for p in standard.parameters.values():
        q = ours.parameters.get(p.name)
        if p.default is not p.empty and q is not None and not {(name, p.name), p.name} & DEFAULTS_THAT_MEAN_THE_SAME:
            assert q.default == p.default, p.name


DEFAULTS_THAT_MEAN_THE_SAME = {("arange", "step"), ("argmax", "keepdims"), ("argmin", "keepdims"), ("var", "correction"),
                               ("std", "correction"), ("astype", "copy"), ("squeeze", "axis"), "norm"}


def test_the_namespace():
    assert xp.__array_api_version__ == "2024.12"
    x = xp.ones(3)
    for version in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        assert x.__array_namespace__(api_version=version) is xp
    assert fg.grad(lambda v: v.__array_namespace__().sum(v))(x).tolist() == [1.0] * 3
    with pytest.raises(ValueError, match="the version is not supported(.|\n)*2024.12"):
        x.__array_namespace__(api_version="2019.12")
    assert (xp.pi, xp.e, xp.inf, xp.newaxis) == (math.pi, math.e, math.inf, None) and math.isnan(xp.nan)


def test_inspection():
    info = xp.__array_namespace_info__()
    assert info.capabilities() == {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}
    assert info.default_device() == "cpu" and info.devices() == ["cpu"]
    assert info.default_dtypes() == {"real floating": xp.float64, "complex floating": xp.complex128, "integral": xp.int64,
                                     "indexing": xp.int64}
    assert list(info.dtypes()) == DTYPES and all(info.dtypes()[name] == getattr(xp, name) for name in DTYPES)
    for kind in ("bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric",
                 ("bool", "real floating")):
        assert list(info.dtypes(kind=kind, device="cpu")) == [n for n in DTYPES if xp.isdtype(getattr(xp, n), kind)]
    for call in (info.dtypes, info.default_dtypes):
        with pytest.raises(ValueError, match="no such device"):
            call(device="gpu")


DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "complex64",
          "complex128"]
SIGNED, UNSIGNED, FLOATS, COMPLEX = DTYPES[1:5], DTYPES[5:9], DTYPES[9:11], DTYPES[11:]
INTEGERS, INEXACT = SIGNED + UNSIGNED, FLOATS + COMPLEX
REAL, NUMERIC = INTEGERS + FLOATS, DTYPES[1:]


def test_devices():
    x = xp.ones(2)
    assert x.device == "cpu" and x.to_device("cpu") is x and x.__dlpack_device__() == (1, 0)
    for call in (lambda device: xp.arange(3, device=device), lambda device: xp.asarray(1, device=device),
                 lambda device: xp.empty(2, device=device), lambda device: xp.empty_like(x, device=device),
                 lambda device: xp.eye(2, device=device), lambda device: xp.full(2, 1, device=device),
                 lambda device: xp.full_like(x, 1, device=device), lambda device: xp.linspace(0, 1, 3, device=device),
                 lambda device: xp.ones(2, device=device), lambda device: xp.ones_like(x, device=device),
                 lambda device: xp.zeros(2, device=device), lambda device: xp.zeros_like(x, device=device),
                 lambda device: xp.astype(x, xp.float32, device=device), lambda device: xp.from_dlpack(x, device=device),
                 lambda device: x.astype(xp.float32, device=device), lambda device: x.to_device(device or "cpu")):
        assert call(None).device == call("cpu").device == "cpu"
        with pytest.raises(ValueError, match="there is no such device"):
            call("tpu")


def test_exchange_by_dlpack():
    x = xp.arange(6.0).reshape(2, 3)
    assert xp.from_dlpack(np.arange(3)).tolist() == [0, 1, 2] and xp.from_dlpack(x) is x
    assert xp.from_dlpack(x, copy=True) is not x and np.from_dlpack(x).tolist() == x.tolist()
    assert x.__dlpack__() is not None and x.__dlpack__(max_version=(1, 0), copy=True) is not None
    with pytest.raises(BufferError):
        x.__dlpack__(dl_device=(2, 0), max_version=(1, 0))
    with pytest.raises(AttributeError):
        fg.jit(lambda v: v.__dlpack__())(x)


def test_copies():
    x, a = xp.arange(3.0), np.arange(3.0)
    assert xp.asarray(x) is x and xp.asarray(x, copy=False) is x and xp.asarray(x, copy=True) is not x
    a.flags.writeable = False
    assert np.shares_memory(np.asarray(xp.asarray(a, copy=False)), a)
    for source, dtype in (([1.0, 2.0], None), (np.arange(3.0), None), (x, xp.float32), (1.0, None)):
        with pytest.raises(ValueError, match="cannot be taken without a copy"):
            xp.asarray(source, dtype=dtype, copy=False)
    assert xp.reshape(x, (3, 1), copy=True).shape == (3, 1)


def test_limits():
    assert xp.iinfo(xp.int8).max == 127 and xp.iinfo(xp.arange(2)).bits == 64 and xp.iinfo(xp.uint8).min == 0
    for dtype in ("float32", "complex64"):
        info = xp.finfo(xp.ones(1, dtype=dtype))
        assert info.bits == 32 and info.eps == 2.0 ** -23 and info.dtype == xp.float32 and info.smallest_normal == 2.0 ** -126
    assert xp.can_cast(xp.int8, xp.int16) and not xp.can_cast(xp.arange(2), xp.int8)


# ---------------------------------------------------------------- dtypes of results

UNARY = {"abs": NUMERIC, "acos": INEXACT, "acosh": INEXACT, "asin": INEXACT, "asinh": INEXACT, "atan": INEXACT, "atanh": INEXACT,
         "bitwise_invert": ["bool", *INTEGERS], "ceil": REAL, "conj": NUMERIC, "cos": INEXACT, "cosh": INEXACT, "exp": INEXACT,
         "expm1": INEXACT, "floor": REAL, "imag": COMPLEX, "isfinite": NUMERIC, "isinf": NUMERIC, "isnan": NUMERIC,
         "log": INEXACT, "log10": INEXACT, "log1p": INEXACT, "log2": INEXACT, "logical_not": ["bool"], "negative": NUMERIC,
         "positive": NUMERIC, "real": NUMERIC, "reciprocal": INEXACT, "round": NUMERIC, "sign": NUMERIC, "signbit": FLOATS,
         "sin": INEXACT, "sinh": INEXACT, "sqrt": INEXACT, "square": NUMERIC, "tan": INEXACT, "tanh": INEXACT, "trunc": REAL}
BINARY = {"add": NUMERIC, "atan2": FLOATS, "bitwise_and": ["bool", *INTEGERS], "bitwise_left_shift": INTEGERS,
          "bitwise_or": ["bool", *INTEGERS], "bitwise_right_shift": INTEGERS, "bitwise_xor": ["bool", *INTEGERS],
          "copysign": FLOATS, "divide": INEXACT, "equal": DTYPES, "floor_divide": REAL, "greater": REAL, "greater_equal": REAL,
          "hypot": FLOATS, "less": REAL, "less_equal": REAL, "logaddexp": FLOATS, "logical_and": ["bool"],
          "logical_or": ["bool"], "logical_xor": ["bool"], "maximum": REAL, "minimum": REAL, "multiply": NUMERIC,
          "nextafter": FLOATS, "not_equal": DTYPES, "pow": NUMERIC, "remainder": REAL, "subtract": NUMERIC}
ANSWERS = {"isfinite", "isinf", "isnan", "signbit", "equal", "greater", "greater_equal", "less", "less_equal", "not_equal"}


def promoted(a, b):
    """The standard's type promotion of two dtypes, or None where it has none."""
    for kind in (SIGNED, UNSIGNED, FLOATS, COMPLEX, ["bool"]):
        if a in kind and b in kind:
            return max(a, b, key=kind.index)
    if a in UNSIGNED or a in COMPLEX:
        a, b = b, a
    if a in SIGNED and b in UNSIGNED:
        bits = max(int(a[3:]), 2 * int(b[4:]))
        return f"int{bits}" if bits <= 64 else None
    if a in FLOATS and b in COMPLEX:
        return "complex128" if a == "float64" else b
    return None


@pytest.mark.parametrize("name", UNARY)
def test_dtype_of_unary(name):
    for dtype in UNARY[name]:
        expected = "bool" if name in ANSWERS else dtype.replace("complex64", "float32").replace("complex128", "float64") \
            if name in ("abs", "real", "imag") else dtype
        with np.errstate(divide="ignore"):
            assert getattr(xp, name)(xp.ones((2, 1), dtype=getattr(xp, dtype))).dtype == getattr(xp, expected), dtype


@pytest.mark.parametrize("name", BINARY)
def test_dtype_of_binary(name):
    for a, b in product(BINARY[name], BINARY[name]):
        if promoted(a, b):
            out = getattr(xp, name)(xp.ones((2, 1), dtype=a), xp.ones(3, dtype=b))
            assert out.dtype == getattr(xp, "bool" if name in ANSWERS else promoted(a, b)) and out.shape == (2, 3), (a, b)


OPERATORS = {"+": NUMERIC, "-": NUMERIC, "*": NUMERIC, "/": INEXACT, "//": REAL, "%": REAL, "**": NUMERIC,
             "&": ["bool", *INTEGERS], "|": ["bool", *INTEGERS], "^": ["bool", *INTEGERS], "<<": INTEGERS, ">>": INTEGERS,
             "<": REAL, "<=": REAL, ">": REAL, ">=": REAL, "==": DTYPES, "!=": DTYPES}


@pytest.mark.parametrize("operator", OPERATORS)
def test_operators_with_arrays_and_scalars(operator):
    """A Python scalar takes the dtype of the array, on either side; x += y is x = x + y."""
    for dtype in OPERATORS[operator]:
        x = xp.ones(2, dtype=dtype)
        scalars = [True] if dtype == "bool" else [2] if dtype in INTEGERS else [2, 0.5] if dtype in FLOATS else [2, 0.5, 1j]
        for other in (*scalars, x):
            for out in (eval(f"x {operator} y", {"x": x, "y": other}), eval(f"y {operator} x", {"x": x, "y": other})):
                assert isinstance(out, fg.Array) and out.dtype == ("bool" if operator in ("<", "<=", ">", ">=", "==", "!=")
                                                                   else dtype), (dtype, other)
            if operator not in ("<", "<=", ">", ">=", "==", "!="):
                space = {"x": x, "y": other}
                exec(f"x {operator}= y", space)
                assert space["x"].dtype == dtype and space["x"] is not x


def test_other_operators():
    x = xp.asarray([[1, 2], [3, 4]])
    y = x
    y @= x
    assert y.tolist() == [[7, 10], [15, 22]] and (-x).tolist() == [[-1, -2], [-3, -4]] and (+x).dtype == (~x).dtype == xp.int64
    assert abs(xp.asarray(-2.5)) == 2.5 and bool(xp.asarray(2)) and int(xp.asarray(2.5)) == 2 and float(xp.asarray(3)) == 3.0
    assert complex(xp.asarray(3.0)) == 3 + 0j and [10, 20, 30][xp.asarray(1)] == 20
    for call, error in ((lambda: [1][xp.asarray(0.0)], TypeError), (lambda: bool(xp.ones(2)), ValueError),
                        (lambda: len(xp.asarray(1)), TypeError), (lambda: int(xp.ones(2)), TypeError)):
        with pytest.raises(error):
            call()
    assert x.T.tolist() == x.mT.tolist() == [[1, 3], [2, 4]] and (x.ndim, x.size, x.shape) == (2, 4, (2, 2))


@pytest.mark.parametrize("dtype", NUMERIC)
def test_dtypes_of_reductions(dtype):
    x = xp.ones((2, 3), dtype=dtype)
    widened = "int64" if dtype in SIGNED else "uint64" if dtype in UNSIGNED else dtype
    for name in ("sum", "prod", "cumulative_sum", "cumulative_prod"):
        assert getattr(xp, name)(x, axis=1).dtype == widened
        assert getattr(xp, name)(x, axis=0, dtype=xp.complex128).dtype == xp.complex128
    if dtype in REAL:
        assert xp.max(x).dtype == xp.min(x, axis=0, keepdims=True).dtype == dtype
        assert xp.argmax(x).dtype == xp.argmin(x, axis=1).dtype == xp.argsort(x).dtype == xp.int64
        assert xp.searchsorted(x[0], x).dtype == xp.int64 and xp.sort(x, descending=True).dtype == dtype
    if dtype in INEXACT:
        assert xp.mean(x).dtype == dtype and xp.std(x, correction=1.0).dtype == xp.real(x).dtype
    assert xp.count_nonzero(x, axis=0, keepdims=True).dtype == xp.nonzero(x)[0].dtype == xp.int64
    assert xp.count_nonzero(x, axis=0, keepdims=True).shape == (1, 3)
    values, indices, inverse, counts = xp.unique_all(x)
    assert values.dtype == dtype and indices.dtype == inverse.dtype == counts.dtype == xp.int64 and inverse.shape == (2, 3)
    assert xp.unique_all(x).inverse_indices.shape == (2, 3) and xp.unique_counts(x).counts.tolist() == [6]


def test_creation():
    assert xp.arange(3).dtype == xp.int64 and xp.arange(0, 1, 0.5).dtype == xp.float64
    assert [xp.full(2, v).dtype.name for v in (True, 1, 1.0, 1j)] == ["bool", "int64", "float64", "complex128"]
    assert [xp.asarray([v]).dtype.name for v in (True, 1, 1.0, 1j)] == ["bool", "int64", "float64", "complex128"]
    assert xp.asarray([1, 2.0, 1j]).dtype == xp.complex128 and xp.zeros(()).dtype == xp.ones(2).dtype == xp.float64
    assert xp.linspace(0, 1j, 3).dtype == xp.complex128 and xp.linspace(0, 1, 3, dtype=xp.float32).dtype == xp.float32
    assert xp.linspace(0, 1, num=4, endpoint=False).tolist() == [0, 0.25, 0.5, 0.75] and xp.eye(2, 3, k=1).shape == (2, 3)
    assert xp.unique_values(xp.asarray([xp.nan, xp.nan])).shape == (2,)


# Each is evaluated in NumPy's namespace, which follows the standard too, and in ours; x is an array [2, 3].
VALUES = """
sum(x, axis=1, keepdims=True) sum(x, dtype=xp.float64) prod(x, axis=0) cumulative_sum(x, axis=1, include_initial=True)
cumulative_prod(x, axis=0) count_nonzero(x, axis=0, keepdims=True) all(x, axis=1) any(x, keepdims=True) nonzero(x) where(x == x[0, 0], x, -x)
unique_counts(x) unique_all(x) unique_inverse(x) matmul(x, xp.matrix_transpose(x)) tensordot(x, x, axes=((0,), (0,))) tensordot(x, x, axes=2)
vecdot(x, x, axis=0) broadcast_to(x, (2, 2, 3)) broadcast_arrays(x, x[0:1, ...]) concat((x, x), axis=-1) concat([x, x], axis=None)
expand_dims(x, axis=-1) flip(x, axis=(0, 1)) flip(x) moveaxis(x, 0, 1) permute_dims(x, (1, 0)) repeat(x, 2, axis=1) repeat(x, 2)
repeat(x, xp.asarray([1, 2]), axis=0) reshape(x, (-1,), copy=True) roll(x, (1, 2), axis=(0, 1)) roll(x, -1) squeeze(x[None, ...], axis=0)
stack([x, x], axis=1) tile(x, (2, 1, 1)) unstack(x, axis=1) take(x, xp.asarray([1, 0]), axis=1) take(x[0], xp.asarray([2, 0]))
take_along_axis(x, xp.asarray([[0], [1]]), axis=1) tril(x, k=-1) triu(x, k=1) diff(x, axis=0, n=1, prepend=x[0:1, ...], append=x[0:1, ...])
zeros_like(x) full_like(x, 1) ones_like(x, dtype=xp.float32) meshgrid(x[0, ...], x[1, ...], indexing='ij') astype(x, xp.complex128) linspace(0, 3, 4)
asarray(x[-1, ::-1]) asarray(x[..., None, 1:]) asarray(x[5:, :]) asarray(x[xp.asarray([0, 1]), xp.asarray([1, 2])]) asarray(x[x == x[0, 0]])
asarray(x[xp.asarray(True)]) asarray(x[:, xp.asarray([True, False, True])]) asarray(x[()])
"""
OF_REAL = """
max(x, axis=0) min(x) argmax(x, axis=1, keepdims=True) argmin(x, keepdims=True) sort(x, axis=0) sort(x) argsort(x) clip(x, 2, 4)
clip(x, min=x[0:1, ...], max=None) searchsorted(x[0], x, side='right') searchsorted(x[0], x[1], sorter=xp.asarray([2, 0, 1]))
mean(x, axis=(0, 1)) std(x, axis=0) var(x, axis=1, keepdims=True)
"""


@pytest.mark.parametrize("dtype", ["bool", "int32", "float64", "complex64"])
def test_values_are_those_of_numpy(dtype):
    data = np.array([[3, 1, 2], [1, 0, 3]]).astype(dtype)
    for call in entries_of_calls(VALUES + OF_REAL * (dtype in ("int32", "float64"))):
        if dtype == "bool" and ("-x" in call or "diff" in call or "prod" in call):
            continue  # not of bools
        if dtype == "complex64" and "float64" in call:
            continue  # a complex number has no real value
        expected = eval(f"xp.{call}", {"xp": np, "x": data})
        actual = eval(f"xp.{call}", {"xp": xp, "x": xp.asarray(data)})
        for a, e in zip(*([v] if isinstance(v, np.ndarray | np.generic | fg.Array) else v for v in (actual, expected)), strict=True):
            assert a.shape == np.shape(e) and (call.startswith(("mean", "std", "var")) or a.dtype == e.dtype), call
            np.testing.assert_allclose(np.asarray(a), e, rtol=1e-6, err_msg=call)


def entries_of_calls(text):
    """The calls of a table: a space ends one where all brackets are closed."""
    out, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "([") - (c in ")]")
        if c.isspace() and not depth:
            out.append(text[start:i].strip())
            start = i
    return [call for call in out if call]


def test_order_of_equal_elements():
    x = xp.asarray([2, 1, 2, 1, 3])
    assert xp.argsort(x, stable=True).tolist() == [1, 3, 0, 2, 4]
    assert xp.argsort(x, descending=True, stable=True).tolist() == [4, 0, 2, 1, 3]
    assert xp.sort(x, descending=True).tolist() == [3, 2, 2, 1, 1]


@pytest.mark.parametrize("call,error", [
    (lambda x: x[0, 0, 0], IndexError), (lambda x: x[2], IndexError), (lambda x: xp.reshape(x, (5,)), (ValueError, TypeError)),
    (lambda x: xp.concat([x, x[:, :2]]), (ValueError, TypeError)), (lambda x: xp.expand_dims(x, axis=4), (IndexError, ValueError)),
    (lambda x: xp.squeeze(x, axis=0), ValueError), (lambda x: x + xp.ones(4), ValueError), (lambda x: xp.matmul(x, x), (ValueError, TypeError)),
    (lambda x: xp.sum(x, axis=3), (IndexError, ValueError)), (lambda x: xp.broadcast_to(x, (4,)), ValueError), (lambda x: x & x, TypeError),
    (lambda x: xp.isdtype(xp.float32, "foo"), ValueError), (lambda x: xp.unstack(x, axis=5), (IndexError, ValueError)),
    (lambda x: xp.nonzero(xp.asarray(1)), ValueError), (lambda x: xp.cumulative_sum(x), ValueError), (lambda x: xp.linspace(0, 1, -1), ValueError),
])
def test_wrong_calls(call, error):
    with pytest.raises(error):
        call(xp.ones((2, 3)))


# ---------------------------------------------------------------- special cases of floating point numbers

nan, inf, pi = math.nan, math.inf, math.pi
SPECIAL_UNARY = {
    "abs": [(-0.0, 0.0), (-inf, inf)], "acos": [(1.5, nan), (-1.5, nan), (1, 0.0)],
    "acosh": [(0.5, nan), (1, 0.0), (inf, inf)], "asin": [(1.5, nan), (-1.5, nan), (0.0, 0.0), (-0.0, -0.0)],
    "asinh": [(0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -inf)],
    "atan": [(0.0, 0.0), (-0.0, -0.0), (inf, pi / 2), (-inf, -pi / 2)],
    "atanh": [(-1.5, nan), (1.5, nan), (-1, -inf), (1, inf), (0.0, 0.0), (-0.0, -0.0)],
    "ceil": [(inf, inf), (-inf, -inf), (0.0, 0.0), (-0.0, -0.0), (-0.5, -0.0)],
    "cos": [(0.0, 1), (-0.0, 1), (inf, nan), (-inf, nan)], "cosh": [(0.0, 1), (-0.0, 1), (inf, inf), (-inf, inf)],
    "exp": [(0.0, 1), (-0.0, 1), (inf, inf), (-inf, 0.0)], "expm1": [(0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -1)],
    "floor": [(inf, inf), (-inf, -inf), (0.0, 0.0), (-0.0, -0.0)],
    "log": [(-1, nan), (0.0, -inf), (-0.0, -inf), (1, 0.0), (inf, inf)],
    "log2": [(-1, nan), (0.0, -inf), (-0.0, -inf), (1, 0.0), (inf, inf)],
    "log10": [(-1, nan), (0.0, -inf), (-0.0, -inf), (1, 0.0), (inf, inf)],
    "log1p": [(-1.5, nan), (-1, -inf), (0.0, 0.0), (-0.0, -0.0), (inf, inf)],
    "negative": [(0.0, -0.0), (-0.0, 0.0), (inf, -inf)], "reciprocal": [(0.0, inf), (-0.0, -inf), (inf, 0.0), (-inf, -0.0)],
    "round": [(inf, inf), (-inf, -inf), (0.0, 0.0), (-0.0, -0.0), (0.5, 0.0), (1.5, 2), (-0.5, -0.0)],
    "sign": [(-2, -1), (0.0, 0), (3, 1), (-inf, -1)], "sin": [(0.0, 0.0), (-0.0, -0.0), (inf, nan), (-inf, nan)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -inf)], "sqrt": [(-1, nan), (0.0, 0.0), (-0.0, -0.0), (inf, inf)],
    "square": [(inf, inf), (-inf, inf), (-0.0, 0.0)], "tan": [(0.0, 0.0), (-0.0, -0.0), (inf, nan), (-inf, nan)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (inf, 1), (-inf, -1)],
    "trunc": [(inf, inf), (-inf, -inf), (0.0, 0.0), (-0.0, -0.0), (0.5, 0.0), (-0.5, -0.0)],
}
SPECIAL_BINARY = {
    "add": [(inf, -inf, nan), (inf, inf, inf), (-inf, -inf, -inf), (inf, 1, inf), (-0.0, -0.0, -0.0), (-0.0, 0.0, 0.0), (1, -1, 0.0)],
    "subtract": [(inf, inf, nan), (inf, -inf, inf), (-inf, 1, -inf), (-0.0, 0.0, -0.0), (0.0, 0.0, 0.0), (-0.0, -0.0, 0.0)],
    "multiply": [(inf, 0.0, nan), (-inf, -0.0, nan), (inf, -inf, -inf), (-2, inf, -inf), (-2, 0.0, -0.0), (-2, -0.0, 0.0)],
    "divide": [(inf, -inf, nan), (0.0, -0.0, nan), (0.0, 2, 0.0), (0.0, -2, -0.0), (-0.0, -2, 0.0), (1, 0.0, inf), (1, -0.0, -inf),
               (-1, 0.0, -inf), (inf, -2, -inf), (2, inf, 0.0), (2, -inf, -0.0), (-2, inf, -0.0)],
    "floor_divide": [(inf, inf, nan), (0.0, 0.0, nan), (0.0, 2, 0.0), (-0.0, 2, -0.0), (0.0, -2, -0.0), (1, 0.0, inf),
                     (1, -0.0, -inf), (-1, 0.0, -inf), (2, inf, 0.0), (-2, -inf, 0.0)],
    "remainder": [(inf, 2, nan), (2, 0.0, nan), (2, -0.0, nan), (0.0, 2, 0.0), (-0.0, 2, 0.0), (0.0, -2, -0.0), (-0.0, -2, -0.0),
                  (2, inf, 2), (2, -inf, -inf), (-2, inf, inf), (-2, -inf, -2)],
    "atan2": [(1, 0.0, pi / 2), (1, -0.0, pi / 2), (0.0, 1, 0.0), (0.0, 0.0, 0.0), (0.0, -0.0, pi), (0.0, -1, pi), (-0.0, 1, -0.0),
              (-0.0, 0.0, -0.0), (-0.0, -0.0, -pi), (-0.0, -1, -pi), (-1, 0.0, -pi / 2), (-1, -0.0, -pi / 2), (1, inf, 0.0),
              (1, -inf, pi), (-1, inf, -0.0), (-1, -inf, -pi), (inf, 1, pi / 2), (-inf, 1, -pi / 2), (inf, inf, pi / 4),
              (inf, -inf, 3 * pi / 4), (-inf, inf, -pi / 4), (-inf, -inf, -3 * pi / 4)],
    "copysign": [(1, -0.0, -1), (-1, 0.0, 1), (inf, -1, -inf), (0.0, -1, -0.0)],
    "hypot": [(inf, nan, inf), (nan, -inf, inf), (3, 0.0, 3), (-0.0, -4, 4), (-inf, 1, inf)],
    "logaddexp": [(inf, 1, inf), (1, -inf, 1), (-inf, -inf, -inf), (inf, -inf, inf)],
    "maximum": [(inf, 1, inf), (-inf, 1, 1)], "minimum": [(inf, 1, 1), (-inf, 1, -inf)],
    "nextafter": [(1, 1, 1), (-0.0, 0.0, 0.0), (0.0, -0.0, -0.0), (inf, inf, inf)],
    "pow": [(2, 0.0, 1), (nan, 0.0, 1), (nan, -0.0, 1), (1, inf, 1), (-1, inf, 1), (-1, -inf, 1), (2, inf, inf), (-2, inf, inf),
            (2, -inf, 0.0), (0.5, inf, 0.0), (0.5, -inf, inf), (inf, 2, inf), (inf, -2, 0.0), (-inf, 3, -inf), (-inf, 2, inf),
            (-inf, 0.5, inf), (-inf, -3, -0.0), (-inf, -2, 0.0), (0.0, 2, 0.0), (0.0, -2, inf), (-0.0, 3, -0.0), (-0.0, 2, 0.0),
            (-0.0, -3, -inf), (-0.0, -2, inf), (-2, 0.5, nan)],
}
NAN_IS_NOT_NAN = {"copysign", "pow", "hypot"}


def assert_same(actual, expected):
    """Equal, NaN at the same places, zeros of the same sign."""
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    zero = np.asarray(expected) == 0
    np.testing.assert_array_equal(np.signbit(actual)[zero], np.signbit(expected)[zero])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", [*SPECIAL_UNARY, *SPECIAL_BINARY])
def test_special_cases(name, dtype):
    if name in SPECIAL_UNARY:
        rows = [*SPECIAL_UNARY[name], (nan, nan)]
    else:
        rows = SPECIAL_BINARY[name] + ([] if name in NAN_IS_NOT_NAN else [(nan, 1, nan), (1, nan, nan), (nan, nan, nan)])
    *args, expected = (np.array(column, dtype=dtype) for column in zip(*rows, strict=True))
    function = getattr(xp, name)
    with np.errstate(all="ignore"):
        assert_same(np.asarray(function(*map(xp.asarray, args))), expected)
    assert_same(np.asarray(fg.jit(function)(*args)), expected)


def test_special_answers():
    x = xp.asarray([nan, inf, -inf, 0.0, -0.0, 1.0])
    assert xp.isnan(x).tolist() == [True] + [False] * 5 and xp.isinf(x).tolist() == [False, True, True, False, False, False]
    assert xp.isfinite(x).tolist() == [False] * 3 + [True] * 3 and xp.signbit(x)[1:].tolist() == [False, True, False, True, False]
    assert xp.equal(x, x).tolist() == [False] + [True] * 5 and xp.less(x, x).tolist() == [False] * 6
    with np.errstate(invalid="ignore"):
        assert math.isnan(xp.max(x)) and math.isnan(xp.min(x)) and math.isnan(xp.mean(xp.zeros(0)))
    assert xp.sum(xp.zeros(0)) == 0 and xp.prod(xp.zeros(0)) == 1 and bool(xp.all(xp.zeros(0))) and not bool(xp.any(xp.zeros(0)))
    assert math.isnan(xp.var(xp.ones(1), correction=1)) and xp.var(xp.asarray([1.0, 3.0]), correction=1.0) == 2.0
    with pytest.raises(ValueError, match="no identity"):
        xp.max(xp.zeros(0))


COMPLEX_FUNCTIONS = ["acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "expm1", "log", "log10", "log1p",
                     "log2", "sin", "sinh", "sqrt", "tan", "tanh", "sign", "abs"]


@pytest.mark.parametrize("name", COMPLEX_FUNCTIONS)
def test_complex_numbers_and_their_conjugates(name):
    """f(conj(z)) = conj(f(z)), and on the real axis, inside the domain, f is the real function; compiled code agrees."""
    z = xp.asarray([0.3 + 0.4j, -0.5 + 1.2j, 2.0 + 0.1j, -1.5 + 0.5j, 0.1 + 3.0j])
    function = getattr(xp, name)
    np.testing.assert_allclose(np.asarray(xp.conj(function(z))), np.asarray(function(xp.conj(z))), rtol=1e-13)
    np.testing.assert_allclose(np.asarray(fg.jit(function)(z)), np.asarray(function(z)), rtol=1e-13)
    x = xp.asarray([0.3, 0.5]) + (1.0 if name == "acosh" else 0.0)
    np.testing.assert_allclose(np.asarray(xp.real(function(x + 0j))), np.asarray(function(x)), rtol=1e-12)
