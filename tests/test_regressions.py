"""Bugs that were found by comparing with other libraries; each test keeps one expected value."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax


def test_population_count_counts_the_bits_of_negative_numbers():
    np.testing.assert_array_equal(lax.population_count(np.array([1, 0, -5, -1], np.int32)), [1, 0, 31, 32])


def test_power_zero_is_constant_in_the_base():
    slopes = fg.vmap(fg.grad(fnp.power), (0, None))(fnp.array([0.0, -2.0, np.inf, -np.inf]), 0.0)
    np.testing.assert_array_equal(slopes, [0.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_mixed_derivative_of_power_at_exponent_zero(order):
    first, second = order
    assert fg.grad(fg.grad(fnp.power, first), second)(4.0, 0.0) == pytest.approx(0.25)


def test_take_with_clip_takes_negative_indices_to_zero():
    np.testing.assert_array_equal(fnp.take(fnp.array([5.0, 6.0, 7.0]), np.array([-1, 1, 9]), mode="clip"), [5, 6, 7])


def test_mean_with_an_integer_dtype_averages_integers():
    assert fnp.mean(fnp.array([-0.4, 1.9, 1.7]), dtype="int64") == 0


def test_unwrap_refuses_complex_numbers():
    with pytest.raises(TypeError, match="unwrap: not defined for complex numbers"):
        fnp.unwrap(fnp.array([1j, 2j]))


def test_covariance_of_nothing_is_nan():
    with np.errstate(invalid="ignore"):
        assert np.isnan(fnp.cov(fnp.zeros((0,))))


def test_unwrap_of_small_integers_is_double():
    assert fnp.unwrap(np.array([1, 2], np.int32)).dtype == np.float64
