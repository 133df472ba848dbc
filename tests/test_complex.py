"""Complex numbers: JAX's convention for real losses, holomorphic functions, forward mode."""
from __future__ import annotations

import numpy as np
import pytest
from operations import OPERATIONS, cplx

import funcgrad as fg
import funcgrad.numpy as fnp

COMPLEX = [o for o in OPERATIONS if o.order and np.asarray(o.args[0]).dtype.kind == "c"]


def real_loss(operation):
    weights = np.cos(np.arange(20.0))

    def loss(z):
        out = operation.function(z, *operation.args[1:])
        out = fnp.ravel(out)
        return fnp.sum(fnp.real(out) * weights[:out.size]) + fnp.sum(fnp.imag(out) * weights[::-1][:out.size])

    return loss


@pytest.mark.parametrize("operation", COMPLEX, ids=str)
def test_the_gradient_of_a_real_loss_is_its_derivative_by_x_minus_i_times_that_by_y(operation):
    loss, z = real_loss(operation), np.asarray(operation.args[0])
    step = 1e-6
    expected = np.zeros_like(z)
    for i in np.ndindex(z.shape):
        unit = np.zeros_like(z)
        unit[i] = step
        by_x = (float(loss(z + unit)) - float(loss(z - unit))) / (2 * step)
        by_y = (float(loss(z + 1j * unit)) - float(loss(z - 1j * unit))) / (2 * step)
        expected[i] = by_x - 1j * by_y
    for transform in (fg.grad, lambda f: fg.jit(fg.grad(f)), lambda f: fg.grad(fg.jit(f)), lambda f: fg.grad(fg.checkpoint(f))):
        np.testing.assert_allclose(transform(loss)(z), expected, rtol=1e-6, atol=1e-8)
    batch = np.stack([z, 1j * z])
    each = np.stack([np.asarray(fg.grad(loss)(row)) for row in batch])
    np.testing.assert_allclose(fg.vmap(fg.grad(loss))(batch), each, rtol=1e-12)


@pytest.mark.parametrize("f,derivative", [(fnp.exp, np.exp), (fnp.sin, np.cos), (lambda z: z ** 3, lambda z: 3 * z ** 2),
                                          (fnp.log, lambda z: 1 / z), (lambda z: 1 / z, lambda z: -1 / z ** 2)])
def test_holomorphic_derivatives(f, derivative):
    z = 0.3 + 0.8j
    np.testing.assert_allclose(fg.grad(f, holomorphic=True)(z), derivative(z), rtol=1e-12)
    np.testing.assert_allclose(fg.jacfwd(f, holomorphic=True)(z), derivative(z), rtol=1e-12)
    np.testing.assert_allclose(fg.jacrev(f, holomorphic=True)(z), derivative(z), rtol=1e-12)
    np.testing.assert_allclose(fg.jvp(f, (z,), (1j,))[1], 1j * derivative(z), rtol=1e-12)


def test_a_step_against_the_conjugate_of_the_gradient_lowers_the_loss():
    target = cplx(3)
    loss = lambda z: fnp.sum(fnp.abs(z - target) ** 2)  # noqa: E731
    z = cplx(3)
    for _ in range(50):
        z = z - 0.1 * np.conj(np.asarray(fg.grad(loss)(z)))
    np.testing.assert_allclose(z, target, atol=1e-4)


def test_the_modulus_has_gradient_zero_at_zero():
    assert complex(fg.grad(lambda z: fnp.abs(z))(0j)) == 0
    assert complex(fg.grad(lambda z: fnp.abs(z) ** 2)(3 + 4j)) == 6 - 8j
