"""Programs that import only NumPy give NumPy's values, and run unchanged under grad, vmap and jit."""
from __future__ import annotations

import numpy as np
import pytest
from numpy_programs import GROUPS

import funcgrad as fg
import funcgrad.numpy as fnp

CASES = [pytest.param(f, args, id=f"{group}-{i}") for group, programs in GROUPS.items()
         for i, (f, *args) in enumerate(programs)]


def test_there_are_many():
    assert len(CASES) >= 200


@pytest.mark.parametrize("f,args", CASES)
def test_program(f, args):
    plain = np.asarray(f(*args))
    value = f(*map(fnp.asarray, args))
    assert isinstance(value, fg.Array) and value.dtype == plain.dtype == np.float64
    np.testing.assert_allclose(np.asarray(value), plain, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(np.asarray(fg.jit(f)(*args)), plain, rtol=1e-12, atol=1e-12)

    weights = np.cos(np.arange(plain.size)).reshape(plain.shape)
    gradients = fg.grad(lambda *v: (f(*v) * weights).sum(), argnums=tuple(range(len(args))))(*args)
    for position, (x, gradient) in enumerate(zip(args, gradients, strict=True)):
        expected = differences(lambda v, i=position: np.sum(f(*args[:i], v, *args[i + 1:]) * weights), x)
        np.testing.assert_allclose(np.asarray(gradient), expected, rtol=1e-6, atol=1e-7)

    batch = [np.stack([x, x + 0.001, x * 1.002]) for x in args]
    np.testing.assert_allclose(np.asarray(fg.vmap(f)(*batch)), [f(*row) for row in zip(*batch, strict=True)],
                               rtol=1e-12, atol=1e-12)


def differences(f, x, step=1e-4):
    """The gradient by central differences of fourth order."""
    out = np.zeros(x.size)
    for i in range(x.size):
        unit = np.zeros(x.size)
        unit[i] = step
        unit = unit.reshape(x.shape)
        out[i] = (8 * (f(x + unit) - f(x - unit)) - f(x + 2 * unit) + f(x - 2 * unit)) / (12 * step)
    return out.reshape(x.shape)
