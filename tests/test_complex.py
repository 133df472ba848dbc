"""Complex numbers: values, JAX's convention for real losses, holomorphic functions, forward mode, kernels, descent."""
from __future__ import annotations

import numpy as np
import pytest
from comparing import compare, special_values, without_kernels
from operations import OPERATIONS, cplx

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax, nn
from funcgrad.scipy import special

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
        with without_kernels():
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


# ---------------------------------------------------------------- one function at a time

Z = np.array([0.3 + 0.8j, -1.2 + 0.5j, 0.7 - 1.1j, -0.4 - 0.6j, 2.5 + 0.1j])
W = np.array([0.5 + 0.2j, -0.3 + 1.1j, 1.7 - 0.4j, 2.0 - 0.1j, -1.0 + 0.3j])
HOLOMORPHIC = {  # name: (function, NumPy's values)
    **{n: (getattr(fnp, n), getattr(np, n)) for n in (
        "exp exp2 expm1 log log2 log10 log1p sqrt square reciprocal sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh "
        "arccosh arctanh negative sinc").split()},
    "rsqrt": (lax.rsqrt, lambda z: 1 / np.sqrt(z)), "logistic": (lax.logistic, lambda z: 1 / (1 + np.exp(-z))),
    **{f"z ** {n}": (lambda z, n=n: z ** n, lambda z, n=n: z ** n) for n in (0, 1, 2, 3, -1, -3, 5, 9, 0.5, -1.5)},
    "z ** w": (lambda z: z ** W, lambda z: z ** W), "w ** z": (lambda z: W ** z, lambda z: W ** z),
    "2.5 ** z": (lambda z: 2.5 ** z, lambda z: 2.5 ** z), "z / w": (lambda z: z / W, lambda z: z / W),
    "logaddexp": (lambda z: fnp.logaddexp(z, W), lambda z: np.log(np.exp(z) + np.exp(W))),
    "logit": (special.logit, lambda z: np.log(z / (1 - z))),
    "cumsum": (fnp.cumsum, np.cumsum), "cumprod": (fnp.cumprod, np.cumprod),
    "softmax": (lambda z: nn.softmax(z), lambda z: np.exp(z) / np.exp(z).sum()),
    "log_softmax": (lambda z: nn.log_softmax(z), lambda z: z - np.log(np.exp(z).sum())),
    "logsumexp": (nn.logsumexp, lambda z: np.log(np.exp(z).sum())), "prod": (fnp.prod, np.prod), "mean": (fnp.mean, np.mean),
}
OTHERS = {
    **{n: (getattr(fnp, n), getattr(np, n)) for n in "real imag conj abs angle sign var std max sort".split()},
    "norm": (fnp.linalg.norm, np.linalg.norm), "vdot": (lambda z: fnp.vdot(z, z * W), lambda z: np.vdot(z, z * W)),
    "complex": (lambda z: lax.complex(fnp.imag(z), fnp.real(z)), lambda z: z.imag + 1j * z.real),
    "where": (lambda z: fnp.where(fnp.abs(z) > 1, z, fnp.conj(z)), lambda z: np.where(abs(z) > 1, z, z.conj())),
    "maximum": (lambda z: fnp.maximum(z, W), lambda z: np.maximum(z, W)),
    "at": (lambda z: z.at[np.array([0, 0, 1])].add(fnp.conj(z[:3])), lambda z: z + np.array([*[z[0] + z[1], z[2]], 0, 0, 0]).conj()),
    "hfft": (lambda z: fnp.fft.hfft(z), np.fft.hfft), "irfft": (lambda z: fnp.fft.irfft(z), np.fft.irfft),
    "logsumexp sign": (lambda z: nn.logsumexp(z, return_sign=True)[1], lambda z: np.sign(np.exp(z).sum())),
}


@pytest.mark.parametrize("name", [*HOLOMORPHIC, *OTHERS])
def test_values_and_derivatives_along_both_directions(name):
    f, expected = {**HOLOMORPHIC, **OTHERS}[name]
    value = np.asarray(expected(Z))
    rng = np.random.default_rng(1)
    t = rng.normal(size=5) + 1j * rng.normal(size=5)
    ct = rng.normal(size=value.shape) + (1j * rng.normal(size=value.shape) if value.dtype.kind == "c" else 0)

    def derivatives(z, t, ct):
        y, dot = fg.jvp(f, (z,), (t,))
        _, turned = fg.jvp(f, (z,), (1j * t,))
        _, second = fg.jvp(lambda z: fg.jvp(f, (z,), (t,))[1], (z,), (t,))
        return y, dot, turned, second, fg.vjp(f, z)[1](ct)[0]

    y, dot, turned, second, back = found = [np.asarray(x) for x in derivatives(fnp.asarray(Z), t, fnp.asarray(ct))]
    assert y.dtype == value.dtype and back.dtype == Z.dtype
    np.testing.assert_allclose(y, value, rtol=1e-13, atol=1e-15)
    h = 1e-5
    np.testing.assert_allclose(dot, (expected(Z + h * t) - expected(Z - h * t)) / (2 * h), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(turned, (expected(Z + 1j * h * t) - expected(Z - 1j * h * t)) / (2 * h), rtol=1e-7, atol=1e-8)
    derivative = lambda z: np.asarray(fg.jvp(f, (fnp.asarray(z),), (t,))[1])  # noqa: E731
    np.testing.assert_allclose(second, (derivative(Z + h * t) - derivative(Z - h * t)) / (2 * h), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(np.sum(back * t).real, np.sum(ct * dot).real, rtol=1e-12)
    if name in HOLOMORPHIC:
        np.testing.assert_allclose(turned, 1j * dot, rtol=1e-12, atol=1e-13)
    batch = [np.stack([x, 0.9 * x]) for x in (Z, t, ct)]
    for x, by_vmap in zip(found, fg.vmap(derivatives)(*batch), strict=True):
        np.testing.assert_allclose(by_vmap[0], x, rtol=1e-12, atol=1e-13)
    by_jit = fg.jit(lambda z, t, ct: (*fg.jvp(f, (z,), (t,)), fg.vjp(f, z)[1](ct)[0]))(Z, t, ct)
    for x, x_jit in zip((y, dot, back), by_jit, strict=True):
        np.testing.assert_allclose(x_jit, x, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("loss, gradient", [
    (lambda z: fnp.abs(z) ** 2, lambda z: 2 * z.conj()), (fnp.real, np.ones_like), (fnp.imag, lambda z: np.full_like(z, -1j)),
    (fnp.abs, lambda z: z.conj() / abs(z)), (fnp.angle, lambda z: -1j / z), (lambda z: fnp.real(z * z), lambda z: 2 * z),
    (lambda z: fnp.abs(fnp.exp(z)) ** 2, lambda z: 2 * np.exp(2 * z.real)),
    (lambda z: fnp.abs(z ** 3) ** 2, lambda z: 2 * z.conj() ** 3 * 3 * z ** 2), (lambda z: fnp.log(fnp.abs(z)), lambda z: 1 / z),
    (lambda z: fnp.real(fnp.conj(z) * W), lambda z: W.conj()), (lambda z: fnp.abs(fnp.fft.fft(z)) ** 2, lambda z: 10 * z.conj()),
], ids=lambda f: f.__name__)
def test_the_gradient_of_a_sum_is_the_formula(loss, gradient):
    # Of |f|^2 with f holomorphic it is 2 conj(f) f'; of Re f it is f'; of Im f it is -i f'.
    for function in (fg.grad(lambda z: fnp.sum(loss(z))), fg.jit(fg.grad(lambda z: fnp.sum(loss(z))))):
        np.testing.assert_allclose(function(Z), gradient(Z), rtol=1e-12, atol=1e-14)


def test_holomorphic_hessians_and_mixed_arguments():
    hessian = fg.hessian(lambda z: fnp.sum(z ** 3) * z[0], holomorphic=True)(Z)
    expected = np.diag(6 * Z * Z[0])
    expected[0] += 3 * Z ** 2
    expected[:, 0] += 3 * Z ** 2
    np.testing.assert_allclose(hessian, expected, rtol=1e-12)
    value, gradient = fg.value_and_grad(lambda z: fnp.sum(fnp.sin(z)), holomorphic=True)(Z)
    np.testing.assert_allclose([value, *gradient], [np.sin(Z).sum(), *np.cos(Z)])
    by_z, by_x = fg.grad(lambda z, x: fnp.sum(fnp.abs(z * x) ** 2), (0, 1))(Z, Z.real)
    np.testing.assert_allclose(by_z, 2 * Z.conj() * Z.real ** 2)
    np.testing.assert_allclose(by_x, 2 * abs(Z) ** 2 * Z.real)
    np.testing.assert_allclose(fg.jacfwd(lambda x: fnp.exp(1j * x))(Z.real), np.diag(1j * np.exp(1j * Z.real)))
    np.testing.assert_allclose(fg.jacrev(lambda z: fnp.abs(z) ** 2)(Z), np.diag(2 * Z.conj()))


# ---------------------------------------------------------------- programs and rules


def scanned(z):
    return lax.scan(lambda c, t: (fnp.conj(c) * t + 1j, fnp.abs(c) * t), fnp.asarray(1 + 0j), z)[0]


def looped(z):
    return lax.fori_loop(0, 3, lambda i, c: fnp.sin(c) * z, z)[0]


def ruled(z):
    @fg.custom_vjp
    def turn(z):
        return z * (2 + 1j)

    turn.defvjp(lambda z: (turn(z), None), lambda _, ct: (ct * (2 + 1j),))

    @fg.custom_jvp
    def sine(z):
        return fnp.sin(z)

    sine.defjvp(lambda primals, tangents: (sine(*primals), fnp.cos(primals[0]) * tangents[0]))
    return fnp.sum(turn(sine(z)) * fnp.conj(z))


@pytest.mark.parametrize("f, same", [
    (scanned, lambda z: fnp.conj(fnp.conj(fnp.conj(fnp.conj(z[0] + 1j) * z[1] + 1j) * z[2] + 1j) * z[3] + 1j) * z[4] + 1j),
    (looped, lambda z: fnp.sin(fnp.sin(fnp.sin(z) * z) * z)[0] * z[0]), (ruled, lambda z: fnp.vdot(z, fnp.sin(z) * (2 + 1j))),
    (lambda z: fg.checkpoint(lambda z: fnp.prod(fnp.exp(z)))(z), lambda z: fnp.exp(fnp.sum(z))),
    (lambda z: lax.cond(fnp.abs(z[0]) < 1, fnp.sum, lambda z: z[0], z), fnp.sum),
    (lambda z: fnp.sum(lax.map(lambda t: t * fnp.conj(t) + 1j * t, z)), lambda z: fnp.sum(fnp.abs(z) ** 2 + 1j * z)),
], ids=["scan", "loop", "rules", "checkpoint", "cond", "map"])
def test_programs_and_rules_on_complex_values(f, same):
    for transform in (lambda f: fg.grad(lambda z: fnp.abs(f(z))), lambda f: lambda z: fg.jvp(f, (z,), (W,))[1],
                      lambda f: lambda z: fg.jvp(fg.grad(lambda z: fnp.abs(f(z))), (z,), (W,))[1]):
        expected = transform(same)(fnp.asarray(Z))
        np.testing.assert_allclose(transform(f)(fnp.asarray(Z)), expected, rtol=1e-12)
        np.testing.assert_allclose(fg.vmap(transform(f))(np.stack([W, Z]))[1], expected, rtol=1e-12)
    np.testing.assert_allclose(fg.jit(transform(f))(Z), expected, rtol=1e-12)


def test_taylor_coefficients_of_a_complex_function():
    f = lambda z: fnp.exp(z) * fnp.arctan(z) / (1 + fnp.sqrt(z)) + z ** 2.5  # noqa: E731
    derivatives, g = [], f
    for _ in range(4):
        derivatives.append(np.asarray(fg.vmap(g)(Z)))
        g = fg.grad(g, holomorphic=True)
    for order, found in enumerate(fg.taylor(f, fnp.asarray(Z), 3)):
        np.testing.assert_allclose(found, derivatives[order], rtol=1e-9)


# ---------------------------------------------------------------- kernels

KERNELS = "log10 arcsin arccos arctan arcsinh arccosh arctanh sign".split()


@pytest.mark.parametrize("dtype", ["complex128", "complex64"])
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_have_numpys_values_near_and_far(name, dtype):
    rng = np.random.default_rng(2)
    z = (rng.normal(size=400) + 1j * rng.normal(size=400)) * np.exp2(rng.integers(-12, 8, 400))
    z = np.concatenate([z, 1 + z[:100] / 256, 1j + z[:100] / 256, -1 - z[:100] / 256]).astype(dtype)
    f = getattr(fnp, name)
    assert not fg.jit(f).lower(z).report()["host_steps"]
    compare(f, z, ulp=6 if name != "log10" else 64)  # NumPy's log10 loses digits at the unit circle
    compare(f, special_values(np.dtype(dtype)), ulp=16, zeros=False)


def test_powers_and_order_are_kernels():
    z = np.concatenate([Z, 1j * Z, np.array([0, 1, -1, 1j, -2])])
    for f in (lambda x, y: x ** y, lambda x, y: x ** fnp.round(y), fnp.maximum, fnp.minimum, lambda x, y: x ** 7 + x ** -5,
              fnp.less, fnp.less_equal, fnp.greater, fnp.greater_equal):
        assert not fg.jit(f).lower(z, z[::-1]).report()["host_steps"]
        x, y = np.repeat(z, len(z)), np.tile(z, len(z))
        compare(f, x, y, ulp=64, scale=1e-3, zeros=False)


# ---------------------------------------------------------------- descent

A = np.array([[2 + 1j, 0.5j, 0.3], [0.1, 1.5 - 0.5j, 0.2j], [0.4j, 0.3, 1 + 1j]])
T = np.linspace(0, 2, 12)
PROBLEMS = {
    "linear system": (lambda z: fnp.sum(fnp.abs(A @ z - Z[:3]) ** 2), W[:3], 0.1),
    "phase retrieval": (lambda z: fnp.sum((fnp.abs(A @ z) ** 2 - np.abs(A @ Z[:3]) ** 2) ** 2), Z[:3] + 0.2 * W[:3], 0.004),
    "spectrum": (lambda z: fnp.mean(fnp.abs(fnp.fft.fft(z) - np.fft.fft(Z)) ** 2), W, 0.2),
    "damped oscillation": (lambda z: fnp.mean(fnp.abs(z[0] * fnp.exp(z[1] * T) - 2 * np.exp((-0.5 + 3j) * T)) ** 2),
                           np.array([1.5 + 0.3j, -0.8 + 2.6j]), 0.1),
    "least eigenvalue": (lambda z: fnp.real(fnp.vdot(z, (A @ A.conj().T) @ z)) / fnp.real(fnp.vdot(z, z)) -
                         np.linalg.eigvalsh(A @ A.conj().T)[0], W[:3], 0.1),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_descent_along_minus_the_conjugate(name):
    loss, z, rate = PROBLEMS[name]
    step = fg.jit(lambda z: (loss(z), z - rate * fnp.conj(fg.grad(loss)(z))))
    losses = []
    for _ in range(60):
        value, z = step(z)
        losses.append(float(value))
    assert all(b <= a + 1e-12 for a, b in zip(losses, losses[1:], strict=False)), losses
    assert losses[-1] < 0.1 * losses[0], losses[::10]


# ---------------------------------------------------------------- wrong programs

WRONG = {
    "grad of a complex loss": (lambda: fg.grad(lambda z: fnp.sum(z * z))(Z), "holomorphic=True, or the real part or modulus"),
    "holomorphic of a real argument": (lambda: fg.grad(fnp.sum, holomorphic=True)(Z.real), r"x.astype\(complex\)"),
    "holomorphic with a real result": (lambda: fg.grad(lambda z: fnp.sum(fnp.abs(z)), holomorphic=True)(Z), "a complex scalar"),
    "jacfwd of a real result": (lambda: fg.jacfwd(fnp.abs, holomorphic=True)(Z), "must be complex, as holomorphic=True says"),
    "jacrev of a real result": (lambda: fg.jacrev(fnp.abs, holomorphic=True)(Z), "must be complex, as holomorphic=True says"),
    "jacfwd of a complex argument": (lambda: fg.jacfwd(fnp.abs)(Z), "real and imaginary parts as two arguments"),
    "jacrev of a complex result": (lambda: fg.jacrev(fnp.exp)(Z), "real and imaginary parts as two results"),
    "hessian of a complex argument": (lambda: fg.hessian(lambda z: fnp.sum(fnp.abs(z)))(Z), "holomorphic=True"),
    "a real tangent": (lambda: fg.jvp(fnp.sin, (Z,), (Z.real,)), r"expected: complex128\[5\]"),
    "a complex cotangent": (lambda: fg.vjp(fnp.abs, Z)[1](Z), r"expected: float64\[5\]"),
    "arctan2": (lambda: fnp.arctan2(Z, 1.0), r"a point has real coordinates(.|\n)*fnp.angle"),
    "float": (lambda: float(fnp.asarray(1j)), r"float: a complex number(.|\n)*x.real, abs"),
    "int": (lambda: int(fnp.asarray(1j)), "int: a complex number"),
    "argmax": (lambda: fnp.argmax(fnp.asarray(Z)), "complex numbers have no order"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_programs_say_what_to_write(name):
    program, text = WRONG[name]
    with pytest.raises(TypeError, match=text):
        program()


def test_views_of_the_parts():
    x = fnp.arange(6.0)
    np.testing.assert_array_equal(x.view(complex), [1j, 2 + 3j, 4 + 5j])
    for dtype in (np.float64, np.float32, np.complex64, np.int64):
        assert np.asarray(fnp.asarray(Z).view(dtype)).tobytes() == Z.tobytes()
    np.testing.assert_array_equal(fg.grad(lambda x: fnp.sum(fnp.abs(x.view(complex)) ** 2))(x), 2 * x)
