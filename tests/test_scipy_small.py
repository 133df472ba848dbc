"""Interpolation in images and on grids, integrals, and vector quantisation, against SciPy."""
from __future__ import annotations

import numpy as np
import pytest
import scipy.cluster.vq
import scipy.interpolate
import scipy.ndimage

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.scipy.cluster.vq import vq
from funcgrad.scipy.integrate import trapezoid
from funcgrad.scipy.interpolate import RegularGridInterpolator
from funcgrad.scipy.ndimage import map_coordinates
from funcgrad.test_util import check_grads

RNG = np.random.default_rng(6)
IMAGE = RNG.normal(size=(4, 5))
PLACES = np.stack([RNG.uniform(-9, 12, 40), RNG.uniform(-9, 14, 40)])
MODES = {"constant": "grid-constant", "nearest": "nearest", "wrap": "grid-wrap", "mirror": "mirror", "reflect": "reflect"}


@pytest.mark.parametrize("mode", MODES)
def test_map_coordinates(mode):
    for x in (IMAGE, IMAGE[:1], (10 * IMAGE).astype(int)):
        for order in (0, 1, 2, 3, 4, 5) if x is IMAGE else (0, 1):
            expected = scipy.ndimage.map_coordinates(x.astype(float), PLACES, order=order, mode=MODES[mode], cval=2.0)
            if x.dtype.kind == "i":
                expected = np.trunc(expected + np.copysign(0.5, expected)).astype(int)
            found = map_coordinates(x, list(PLACES), order, mode, 2.0)
            assert found.dtype == x.dtype
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
            if order < 2 or (order, mode) == (3, "mirror"):
                np.testing.assert_allclose(fg.jit(lambda x, p: map_coordinates(x, p, order, mode, 2.0))(x, list(PLACES)), expected, rtol=1e-9, atol=1e-9)  # noqa: B023
    inside = np.array([[0.3, 1.7, 2.4], [3.2, 0.6, 1.5]])
    for order in (1, 3) if mode == "nearest" else (1,):
        check_grads(lambda x, a, b: map_coordinates(x, [a, b], order, mode), (IMAGE, *inside), order=2 if order == 1 else 1)  # noqa: B023
    by_place = fg.vmap(lambda a, b: map_coordinates(IMAGE, [a, b], 1, mode))(*inside)
    np.testing.assert_allclose(by_place, map_coordinates(IMAGE, list(inside), 1, mode), rtol=1e-12)
    batched = fg.vmap(lambda x: map_coordinates(x, list(inside), 1, mode))(np.stack([IMAGE, 2 * IMAGE]))
    np.testing.assert_allclose(batched[1], 2 * batched[0], rtol=1e-12)


GRID = (np.array([0.0, 0.5, 2.0, 2.5]), np.array([3.0, 1.0, 0.5]))
VALUES = RNG.normal(size=(4, 3, 2))
POINTS = np.stack([RNG.uniform(-0.5, 3, 30), RNG.uniform(0, 3.5, 30)], -1)


@pytest.mark.parametrize("method", ["linear", "nearest"])
@pytest.mark.parametrize("fill", [np.nan, None, 7.0])
def test_regular_grid_interpolator(method, fill):
    expected = scipy.interpolate.RegularGridInterpolator(GRID, VALUES, method, bounds_error=False, fill_value=fill)
    f = RegularGridInterpolator(GRID, VALUES, method, fill_value=fill)
    for points in (POINTS, POINTS.reshape(5, 6, 2), tuple(POINTS.T), POINTS[0]):
        np.testing.assert_allclose(f(points), expected(points), rtol=1e-12)
    np.testing.assert_allclose(fg.jit(lambda f, p: f(p))(f, POINTS), expected(POINTS), rtol=1e-12)
    np.testing.assert_allclose(fg.vmap(f)(POINTS[:, None])[:, 0], expected(POINTS), rtol=1e-12)


def test_derivatives_of_interpolation():
    points = np.array([[0.2, 0.7], [2.2, 2.0]])
    check_grads(lambda v, p, x: RegularGridInterpolator((p, GRID[1]), v)(x), (VALUES, GRID[0], points), order=2)
    g = fg.grad(lambda f: fnp.sum(f(points)))(RegularGridInterpolator(GRID, VALUES))
    assert isinstance(g, RegularGridInterpolator) and float(g.values.sum()) == pytest.approx(4)
    line = RegularGridInterpolator(GRID[:1], np.arange(4.0), bounds_error=True)
    np.testing.assert_allclose(line(np.array([0.25, 1.25])), [0.5, 1.5])
    with pytest.raises(ValueError, match="outside of the grid"):
        line(np.array([3.0]))


def test_trapezoid():
    assert float(trapezoid(np.array([1.0, 2.0, 3.0]), dx=0.5)) == 2.0
    check_grads(lambda y, x: trapezoid(y, x), (IMAGE[0], np.sort(IMAGE[1])), order=2)


def test_vq():
    x, codes = RNG.normal(size=(20, 3)), RNG.normal(size=(4, 3))
    for f in (vq, fg.jit(vq)):
        for a, b in ((x, codes), (x[:, 0], codes[:, 0])):
            index, distance = f(a, b)
            expected = scipy.cluster.vq.vq(a, b)
            assert index.tolist() == expected[0].tolist()
            np.testing.assert_allclose(distance, expected[1], rtol=1e-12)
    np.testing.assert_allclose(fg.vmap(lambda a: vq(a[None], codes)[1][0])(x), vq(x, codes)[1], rtol=1e-12)
    check_grads(lambda a, b: vq(a, b)[1], (x, codes), order=2)
    assert fg.grad(lambda a: vq(a, codes)[1].sum())(codes).tolist() == np.zeros((4, 3)).tolist()


@pytest.mark.parametrize("call,error,text", [
    (lambda: map_coordinates(IMAGE, [PLACES[0]], 1), ValueError, r"one array of coordinates for each axis(.|\n)*1 for float64\[4,5\]"),
    (lambda: map_coordinates(IMAGE, PLACES, 6), ValueError, "the order is unknown"),
    (lambda: map_coordinates(IMAGE, PLACES, 1, "loop"), ValueError, "the mode is unknown(.|\n)*'mirror'"),
    (lambda: RegularGridInterpolator(GRID, VALUES, "cubic"), ValueError, "the method is unknown"),
    (lambda: RegularGridInterpolator(GRID[::-1], VALUES), ValueError, "the points do not fit the values"),
    (lambda: RegularGridInterpolator((GRID[0][:1],), VALUES[:1]), ValueError, "two points or more"),
    (lambda: RegularGridInterpolator(GRID, VALUES)(np.ones((3, 3))), ValueError, "another number of coordinates"),
    (lambda: vq(IMAGE, IMAGE[:, :2]), ValueError, r"do not fit(.|\n)*shapes \(m, n\)"),
])
def test_wrong_programs(call, error, text):
    with pytest.raises(error, match=text):
        call()
