"""Makers of arrays, element types, and matrices by diagonals: values and dtypes, tracing, errors."""
from __future__ import annotations

import io
import pickle

import ml_dtypes
import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.test_util import check_grads

M = np.arange(12.0).reshape(3, 4)


def same(actual, expected):
    expected = np.asarray(expected)
    assert isinstance(actual, fg.Array) and actual.dtype == expected.dtype and actual.shape == expected.shape
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-12, atol=1e-300)


SAME_IN_NUMPY = """
array([1,2.5])
array([[1,2],[3,4]])
array([])
array([True,2])
array([1,2j])
array([[1,2],[3,4]],dtype='float32')
array(3,dtype='int8')
array([M,M])
array([1.,2.],ndmin=3)
asarray(M)
zeros(3)
zeros((2,3),int)
zeros(())
ones((2,),'complex64')
full((2,3),1.5)
full((2,4),np.arange(4))
full(2,1,dtype='float32')
zeros_like(M)
ones_like(M,dtype=int)
full_like(np.arange(3),1.7)
empty_like(M,shape=(2,)) * 0
arange(3)
arange(3.)
arange(1,2,0.3)
arange(5,0,-2)
arange(2,10,3,dtype='int8')
arange(0)
arange(3,1)
linspace(0,1,5)
linspace(0,1,5,endpoint=False)
linspace(2,3,1)
linspace(0,1,0)
linspace(0,10,4,dtype=int)
linspace(M[0],M[1],4)
linspace(M[0],M[1],4,axis=1)
linspace(0,1j,3)
logspace(0,2,5)
logspace(0,2,5,base=2.,endpoint=False)
geomspace(1,1000,4)
geomspace(-1,-1000,4)
eye(3)
eye(2,4,k=1,dtype=int)
identity(2)
tri(3,k=1)
tri(2,4,-1,dtype='int8')
tril(M)
tril(M,1)
triu(M,2)
triu(np.ones((2,3,4)),-1)
diag(M)
diag(M,1)
diag(M,-2)
diag(M,9)
diag(M[0],2)
diag(M[0],-1)
diagflat(M[:2,:2],1)
diagonal(np.arange(24).reshape(2,3,4),1,1,2)
bartlett(5)
blackman(1)
hamming(4)
hanning(7)
kaiser(5,8.6)
fromiter(range(3),int)
frombuffer(b'\\x01\\x02',dtype='uint8')
fromstring('1 2',sep=' ')
fromfunction(lambda i,j:i*10+j,(2,3))
r_[0:3,10]
r_[0:1:5j]
r_['0,2',[1,2],[3,4]]
c_[[1,2],[3,4]]
"""


@pytest.mark.parametrize("call", SAME_IN_NUMPY.split("\n")[1:-1])
def test_as_numpy(call):
    expected = eval("np." + call, {"np": np, "M": M})
    same(eval("fnp." + call, {"fnp": fnp, "np": np, "M": M}), expected)
    if not call.startswith(("fromiter", "empty")):
        same(fg.jit(lambda: eval("fnp." + call, {"fnp": fnp, "np": np, "M": M}))(), expected)


@pytest.mark.parametrize("options", [{}, {"sparse": True}, {"indexing": "ij"}])
def test_meshgrid(options):
    vectors = np.arange(3), np.arange(2.0), np.arange(4)
    for actual, expected in zip(fnp.meshgrid(*vectors, **options), np.meshgrid(*vectors, **options), strict=True):
        same(actual, expected)
    assert fnp.meshgrid() == []
    assert fnp.r_["r", [1, 2]].shape == (1, 2) and fnp.r_["c", [1, 2]].shape == (2, 1)


def test_weak_types_as_in_jax():
    assert fnp.array(1.0).weak_type and fnp.asarray(2).weak_type and fnp.zeros_like(1.0).weak_type
    assert fnp.full((2,), 1.0).weak_type
    for x in (fnp.array([1.0]), fnp.zeros(2), fnp.arange(3), fnp.array(1.0, dtype=float), fnp.linspace(0, 1, 3),
              fnp.array(np.float64(1)), fnp.full((2,), 1.0, dtype=float)):
        assert not x.weak_type
    assert fnp.array([fnp.float32(1), 2.0]).dtype == np.float32 and fnp.arange(np.int32(4)).dtype == np.int32
    assert fnp.array([np.float32(1), 2.0]).dtype == np.float32


def test_arrays_do_not_share_memory_with_what_can_be_written():
    x = np.zeros(3)
    arrays = fnp.array(x), fnp.asarray(x), fnp.copy(x)
    x[0] = 7
    assert all(a.tolist() == [0, 0, 0] for a in arrays)
    y = fnp.zeros(3)
    assert fnp.asarray(y) is y
    assert np.asarray(fnp.array(y)).__array_interface__["data"] != np.asarray(y).__array_interface__["data"]
    assert fnp.from_dlpack(np.arange(3.0)).tolist() == [0.0, 1.0, 2.0]


def test_arrays_of_traced_values():
    def f(x):
        return fnp.sum(fnp.array([[x[0], 2.0], [x[1] * x[2], x[0]]]) ** 2)

    check_grads(f, (np.array([1.0, 2.0, 3.0]),), order=2)
    assert fg.make_jaxpr(f)(np.ones(3)).out_avals[0].shape == ()
    assert fg.vmap(lambda a: fnp.array([a, 1]))(fnp.arange(3)).tolist() == [[0, 1], [1, 1], [2, 1]]
    assert fg.jit(lambda a: fnp.array((a, [1.0, 2.0])))(fnp.ones(2)).shape == (2, 2)


@pytest.mark.parametrize("f", [
    lambda x: fnp.linspace(x[0], x[1], 5), lambda x: fnp.linspace(x, 2 * x, 3, axis=1),
    lambda x: fnp.linspace(x[0], x[1], 4, retstep=True)[1], lambda x: fnp.logspace(x[0], x[1], 3),
    lambda x: fnp.geomspace(x[0], x[1], 3), lambda x: fnp.full((2, 3), x), lambda x: fnp.diag(x, 1),
    lambda x: fnp.diagflat(x), lambda x: fnp.tril(fnp.outer(x, x)), lambda x: fnp.triu(fnp.outer(x, x), 1),
    lambda x: fnp.diagonal(fnp.outer(x, x), 1), lambda x: fnp.meshgrid(x, x)[1], lambda x: fnp.r_[x, 1.0, x],
    lambda x: fnp.fromfunction(lambda i: i * x[0], (3,)), lambda x: fnp.asarray(x, dtype=complex).real,
])
def test_derivatives(f):
    check_grads(f, (np.array([0.7, 1.9, 2.3]),), order=2)


def test_ranges_become_counters_when_traced():
    assert [e.primitive.name for e in fg.make_jaxpr(lambda: fnp.arange(5))().equations] == ["iota"]
    assert fg.make_jaxpr(lambda: fnp.zeros((1000, 1000)))().consts == () or \
        all(np.size(c) == 1 for c in fg.make_jaxpr(lambda: fnp.zeros((1000, 1000)))().consts)
    with pytest.raises(TypeError):
        fg.jit(fnp.arange)(3)


# ---------------------------------------------------------------- element types


def test_scalar_types():
    assert fnp.float32(3).dtype == np.float32 and repr(fnp.float32(3)) == "Array(3., dtype=float32)"
    assert np.dtype(fnp.float32) == np.float32 and fnp.zeros(1, fnp.bfloat16).dtype == ml_dtypes.bfloat16
    assert fnp.float32 == np.dtype("float32") and np.dtype("float32") == fnp.float32 and fnp.float32 == "float32"
    assert fnp.float32 != fnp.float64 and {fnp.int8: 1}[fnp.int8] == 1
    assert fnp.int8([1, 2]).tolist() == [1, 2] and bool(fnp.bool_(2)) is True
    assert fnp.float_ is fnp.float64 and fnp.single == np.float32 and fnp.ndarray is fg.Array
    assert pickle.loads(pickle.dumps(fnp.int16)) == fnp.int16
    assert float(fg.grad(lambda x: fnp.float32(x) * 2)(1.0)) == 2.0
    assert repr(fnp.int16) == "funcgrad.numpy.int16"


def test_questions_about_dtypes():
    assert fnp.result_type(1, fnp.float32) == np.float32 and fnp.result_type(1, 2) == np.int64
    assert fnp.result_type(fnp.int8, fnp.uint8) == np.int16 and fnp.result_type("bfloat16", "float16") == np.float32
    assert fnp.result_type(1, return_weak_type_flag=True) == (np.dtype("int64"), True)
    assert fnp.promote_types("uint64", "int64") == np.float64 and fnp.promote_types(int, "float32") == np.float32
    assert fnp.can_cast("int8", "int16") and not fnp.can_cast("float64", "int16")
    assert fnp.issubdtype(fnp.bfloat16, fnp.floating) and not fnp.issubdtype(fnp.float32, fnp.integer)
    assert fnp.issubdtype("int32", fnp.signedinteger) and fnp.issubdtype(np.float32, fnp.float32)
    assert fnp.isdtype("bfloat16", "real floating") and fnp.isdtype("int8", ("bool", "integral"))
    with pytest.raises(ValueError, match="unknown kind"):
        fnp.isdtype("int8", "foo")
    assert float(fnp.finfo(fnp.float32).eps) == np.finfo(np.float32).eps and fnp.iinfo("int8").max == 127
    assert fnp.isscalar(1.0) and fnp.isscalar(fnp.array(1.0)) and not fnp.isscalar(fnp.ones(1))
    assert (fnp.ndim(M), fnp.shape(M), fnp.size(M), fnp.size(M, 1)) == (2, (3, 4), 12, 4)
    with pytest.warns(fnp.ComplexWarning, match="imaginary part is dropped"):
        assert fnp.astype(np.array([1 + 2j]), float).tolist() == [1.0]
    assert fnp.astype(np.array([2j, 0]), bool).tolist() == [True, False]


def test_files_and_printing(tmp_path):
    fnp.save(tmp_path / "x.npy", fnp.arange(3.0))
    assert fnp.load(tmp_path / "x.npy").tolist() == [0.0, 1.0, 2.0]
    half = fnp.ones(3, "bfloat16")
    fnp.save(tmp_path / "b.npy", half)
    assert fnp.load(tmp_path / "b.npy").dtype == ml_dtypes.bfloat16
    fnp.savez(tmp_path / "x.npz", a=fnp.ones(2))
    assert fnp.load(tmp_path / "x.npz")["a"].tolist() == [1.0, 1.0]
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    buffer.seek(0)
    with pytest.raises(ValueError, match="allow_pickle"):
        fnp.load(buffer)
    with pytest.raises(ValueError, match="pickled objects are not read"):
        fnp.load(buffer, allow_pickle=True)
    with fnp.printoptions(precision=2):
        assert repr(fnp.array([np.pi])) == "Array([3.14], dtype=float64)"
    assert fnp.array_repr(fnp.array([np.pi]), precision=3) == "Array([3.142], dtype=float64)"
    assert fnp.array_str(fnp.array([1.0])) == "[1.]"


@pytest.mark.parametrize("call,error,text", [
    (lambda: fnp.array([[1, 2], [3]]), ValueError, "different shapes"),
    (lambda: fnp.array(None), TypeError, "holds no numbers"),
    (lambda: fnp.array(["a"]), TypeError, "not a number or an array"),
    (lambda: fnp.array([1, None]), TypeError, "not a number or an array"),
    (lambda: fnp.array({1, 2}), TypeError, "fnp.array\\(list"),
    (lambda: fnp.array(np.array(["a"])), TypeError, "not supported"),
    (lambda: fnp.zeros(-1), ValueError, "negative size"),
    (lambda: fnp.zeros(2.5), TypeError, "made of integers"),
    (lambda: fnp.full((2,), np.ones(3)), ValueError, "does not fit"),
    (lambda: fnp.linspace(0, 1, -1), ValueError, "negative"),
    (lambda: fnp.linspace(0, 1, 3, axis=4), ValueError, "axis does not exist"),
    (lambda: fnp.arange(np.ones(2)), TypeError, "bounds are numbers"),
    (lambda: fnp.meshgrid(M), ValueError, "arguments are vectors"),
    (lambda: fnp.meshgrid(M[0], indexing="xx"), ValueError, "unknown indexing"),
    (lambda: fnp.tril(M[0]), ValueError, "a matrix is needed"),
    (lambda: fnp.diag(np.ones((1, 1, 1))), ValueError, "neither a vector nor a matrix"),
    (lambda: fnp.diagonal(M, 0, 1, 1), ValueError, "two axes are one"),
    (lambda: fnp.zeros(2, "S3"), TypeError, "not supported"),
])
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
