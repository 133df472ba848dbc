"""docs/numpy-coverage.md tells what is so, and every NumPy function that it calls supported is called here or in a program."""
from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("make_numpy_coverage", ROOT / "docs" / "make_numpy_coverage.py")
coverage = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(coverage)
PAGE = (ROOT / "docs" / "numpy-coverage.md").read_text()

# v: floats, m: a matrix, i: integers, j: more integers, b: bools, n: floats with NaN, z: complex numbers.
VALUES = {
    "v": np.array([0.3, 1.2, 2.5, 0.8]), "m": np.arange(12.0).reshape(3, 4) - 5, "i": np.array([3, 1, 2, 12]),
    "j": np.array([2, 3, 1, 4]), "b": np.array([True, False, True, True]), "n": np.array([np.nan, 2.0, -1.0, np.inf]),
    "z": np.array([1 + 2j, 3 - 1j, 0.5 + 0j, -1j]),
}
CALLS = """
np.allclose(v, v + 1e-12) np.amax(m, 1) np.amin(m, axis=0) np.argmin(m, axis=1) (np.argpartition(v, 2) >= 0) np.argwhere(m > 0)
np.around(m / 3, 2) np.array_equal(v, i) np.array_equal(n, n, equal_nan=True) np.array_equiv(v, [v, v]) np.atleast_3d(v)
np.broadcast_arrays(v, m) np.can_cast(v, np.float32) np.common_type(v, z) np.copy(m, order='F') np.cumulative_prod(v)
np.cumulative_sum(m, axis=1, include_initial=True) np.diag_indices_from(m[:, :3]) np.dsplit(m[None], 2) len(np.einsum_path('ij,kj->ik', m, m))
np.empty_like(m).shape np.fix(m / 3) np.flatnonzero(m > 0) np.histogram2d(v, v, 3, [[0, 3], [0, 3]], True) np.histogram_bin_edges(v, 4)
(np.histogramdd(m, [2, 2, 2, 2])[0] * 1.0) np.imag(z) np.intersect1d(i, j) np.intersect1d(i, j, return_indices=True) np.isclose(n, n, equal_nan=True)
np.iscomplex(z) np.iscomplexobj(z) np.isneginf(-n) np.isposinf(n) np.isreal(z) np.isrealobj(z) m[np.ix_(b[:3], [0, 2])] np.nanargmax(n)
np.nanargmin(n) np.nancumprod(n) np.nanpercentile(n[:3], 30) np.nanquantile(n[:3], [0.2, 0.5], method='nearest') np.ndim(m) np.nonzero(m)
np.packbits(b, bitorder='little') np.unpackbits(np.packbits(b)) np.polysub(v, [1.0, 2.0]) np.ravel_multi_index((j[:2], j[:2]), (4, 5))
np.real_if_close(z.real + 0j) np.real_if_close(z) np.result_type(v, np.float32) np.setdiff1d(i, j) np.setxor1d(i, j) np.shape(m) np.size(m, 1)
np.sort_complex(z) np.std(m, 0) np.std(m, axis=1, ddof=1, keepdims=True) np.swapaxes(m, 0, 1) np.tril_indices_from(m) np.triu_indices_from(m, 1)
np.union1d(i, j) np.unique_all(i) np.unique_counts(i) np.unique_inverse(i) np.sort(np.unique_values(i)) np.unravel_index(i, (3, 5))
np.unravel_index(i, (5, 3), order='F') np.absolute(m) np.acos(v / 3) np.acosh(v + 1) np.arccosh(v + 1) np.asin(v / 3) np.asinh(v) np.atan(v)
np.atan2(v, n[1]) np.atanh(v / 3) np.bitwise_and(i, j) np.bitwise_count(i) np.bitwise_invert(i) np.bitwise_left_shift(i, j) np.bitwise_not(b)
np.bitwise_or(i, j) np.bitwise_right_shift(i, 1) np.bitwise_xor(i, j) np.conjugate(z) np.divide(i, j) np.equal(i, j) np.fabs(i) np.floor_divide(m, 2)
np.frexp(v) np.gcd(i, j) np.greater(i, j) np.greater_equal(i, j) np.invert(i) np.isinf(n) np.isnan(n) np.lcm(i, j) np.left_shift(i, 1)
np.less(i, j) np.less_equal(i, j) np.logical_not(m) np.logical_or(m, 0) np.logical_xor(m, 1) np.nextafter(v, 2) np.not_equal(i, j) np.pow(v, 2)
np.right_shift(i, j) np.signbit(m) np.spacing(v) np.true_divide(i, 2) np.vecmat(v[:3], m) np.trim_zeros(np.pad(v, 2)) np.trim_zeros(m * (m > 0), axis=0)
np.trim_zeros(np.pad(m, 1), 'b') np.nanstd(n[:3], correction=1) np.nanvar(n[:3], ddof=1) np.array2string(m) (len(np.array_repr(v)) > 20) np.array_str(v)
np.min_scalar_type(i) np.shares_memory(v, m) np.may_share_memory(v, m) np.einsum(m, [0, 1], v, [1]) np.asarray_chkfinite(v)
np.array([1.0, 2.0], like=v) np.asarray([1, 2], like=v) np.asanyarray([1], like=v) np.asfortranarray([1], like=v) np.ascontiguousarray([1], like=v)
np.zeros(2, like=v) np.ones(2, order='F', like=v) np.full(2, 3.0, like=v) np.empty(2, like=v).shape np.eye(2, like=v) np.identity(2, like=v)
np.tri(2, like=v) np.arange(3, like=v) np.fromfunction(lambda a, c: a + c, (2, 2), like=v) np.require(v).tolist() np.isscalar(v) np.iterable(v)
np.linspace(v, 2 * v, 3, axis=1) np.sort(m, kind='stable', axis=0) np.sum(m, axis=(0, 1), keepdims=True) np.insert(v, [1, 2], 5.0, 0)
np.percentile(m, [10, 50], 1, method='lower', keepdims=True) np.take(m, [5], mode='wrap') np.roll(m, (1, 2), (0, 1)) np.tensordot(m, m, ([0], [0]))
np.cov(m, rowvar=False, bias=True) np.corrcoef(v, i) np.average(m, 0, [1, 2, 3], True) np.searchsorted(np.sort(v), [1.0, 2.0], 'right')
np.digitize(v, [1, 2], True) np.clip(v, 1, None) np.clip(v, max=1.0) np.nan_to_num(n, nan=1.0, posinf=9.0) np.round(m / 7, decimals=2)
np.argsort(m, 0, 'stable') np.median(m, axis=1, overwrite_input=True, keepdims=True) np.select([b, ~b], [v, -v], 7) np.diff(m, 2, 0)
np.pad(m, [(1, 0), (0, 2)], 'constant', constant_values=7) np.where(b)[0] np.repeat(m, [1, 0, 2], axis=0) np.unique(i, True, True, True)
np.apply_along_axis(np.sum, 0, m) np.vander(v, 3, True) np.kron(m[:2, :2], m[:1]) np.cross(m[:, :3], m[:, 1:]) np.broadcast_to(v, (2, 4), subok=True)
np.gradient(m, v[0], axis=(0, 1)) np.unwrap(v * 4, period=3.0) np.trapezoid(m, dx=2.0, axis=0) np.interp(v, [0, 1, 2], [3, 5, 4], left=-1)
np.delete(m, 1, 1) np.histogram(v, [0., 1., 3.], density=True) np.bincount(j, v, 7) np.flip(m, (0, 1)) np.resize(v, (2, 3)) np.choose(j - 1, [v, -v, i, v])
v.argpartition(2).shape bool(v.ctypes) v.itemsize v.nbytes m.item(3) m.take([1, 2], axis=1) v.repeat([1, 0, 2, 1]) (v + [1, 2, 3, 4]) ([1, 2, 3, 4] * v)
(m @ [1, 2, 3, 4]) (v == [0.3, 0, 0, 0]) m[[0, 2], [1, 1]] m[[[0], [1]], [1, 2]] v[[True, False, True, False]] v[[]] v.searchsorted([1.0]) v.clip([0, 1, 2, 3], 4)
m.sum(0, 'float32', None, False, 1.0, m > 0) m.std(0, None, None, 1, True) m.take([9], 1, None, 'wrap') m.trace(0, 0, 1, None, None)
m.compress([True, False, True], 0, None) m.argsort(0, 'stable', None) m.argpartition(1, 0, 'introselect').shape m.clip(0, 1, None)
m.dot(m.T, None) m.astype(np.float32, 'C', 'unsafe', True, True) m.min(0, None, True, 0.0, m > 0) m.mean(0, None, None, True, where=m < 99)
m.ravel('F') m.flatten('A') m.cumprod(1, 'float32', None) m.round(1, None) v.searchsorted(1.0, 'left', None) m.reshape([4, 3], order='F')
m.transpose([1, 0]) m.view('int32') m.max(axis=1, initial=3.0, where=m > 0) m.repeat(2, 0) divmod(7, v) pow(v, 2) round(m.sum(), 1) (3.0 in m)
np.fft.fftn(m) np.fft.ihfft(v) np.fft.irfft2(np.fft.rfft2(m), m.shape)
np.sort(np.abs(np.linalg.eigvals(m[:, :3]))) np.sort(np.abs(np.linalg.eig(m[:, :3])[0])) np.linalg.matmul(m, m.T) np.linalg.matrix_rank(m)
np.linalg.svdvals(v[:3] + m.T) np.linalg.tensordot(m, m, axes=([0], [0])) np.linalg.tensorsolve(np.eye(4).reshape(2, 2, 2, 2) * v[1], m[:2, :2])
np.roots(v).imag
"""


def calls():
    """The calls of the table: a space ends one where all brackets are closed."""
    out, depth, current = [], 0, ""
    for c in CALLS:
        depth += c in "([{"
        depth -= c in ")]}"
        if c.isspace() and not depth:
            out.append(current.strip())
            current = ""
        else:
            current += c
    return [c for c in out if c]


@pytest.mark.parametrize("call", calls())
def test_call(call):
    with np.errstate(all="ignore"):
        expected = eval(call, {"np": np, **VALUES})
        actual = eval(call, {"np": np, **{name: fnp.asarray(x) for name, x in VALUES.items()}})
    compare(actual, expected)


def compare(actual, expected):
    if isinstance(expected, tuple | list):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            compare(a, e)
    elif isinstance(expected, np.ndarray | np.generic) and not isinstance(expected, np.void):
        assert isinstance(actual, fg.Array | np.ndarray | float) and np.shape(actual) == expected.shape
        assert np.asarray(actual).dtype.kind == expected.dtype.kind
        np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-13, atol=1e-13)
    else:
        assert str(actual).replace("Array", "array") == str(expected)


def test_every_supported_function_is_called_somewhere():
    text = CALLS + (Path(__file__).parent / "numpy_programs.py").read_text()
    names = [name for name, status in coverage.rows_of(PAGE).items() if name.startswith("np.") and status.startswith("yes")]
    assert len(names) > 250
    assert not [name for name in names if not re.search(re.escape(name) + r"\b", text) and name not in ("np.ndarray", "np.row_stack")]


def test_the_page_is_up_to_date():
    """Every name of this NumPy is supported or has a reason; the page says so, word for word if it is of this version."""
    text = coverage.text()
    ours, page = coverage.rows_of(text), coverage.rows_of(PAGE)
    assert {name: ours[name] for name in ours if name in page} == {name: page[name] for name in ours if name in page}
    assert all(len(status) > 4 for status in page.values() if status.startswith("no"))
    version = ".".join(np.__version__.split(".")[:2])
    assert f"from NumPy {version};" not in PAGE or text == PAGE
