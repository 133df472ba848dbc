"""Small programs in plain NumPy, which know nothing of funcgrad: they run unchanged under grad, vmap and jit.

Out: ``PROGRAMS``, pairs of a function and its arguments (float64 arrays, away from kinks). Results are arrays of floats.
"""
import numpy as np

V = np.array([0.3, 1.2, 2.5, 0.8, 1.7])
U = np.array([1.1, 0.43, 0.9, 1.63, 0.7])
W = np.array([0.31, -0.42, 1.23, 0.74, -1.15, 0.56, 2.07, -0.68, 0.19, 1.4, -0.91, 0.82])
M = np.array([[0.5, -1.2, 0.8, 1.9], [1.4, 0.3, -0.7, 0.6], [-0.9, 1.1, 2.2, -0.4]])
S = np.array([[2.1, 0.4, -0.3], [0.2, 1.8, 0.5], [-0.6, 0.7, 2.6]])
IMAGE = np.sin(np.arange(30.0) ** 1.3 + 0.5).reshape(5, 6)
POINTS = np.array([[0.1, 0.4], [1.3, -0.2], [0.7, 1.5], [-0.8, 0.9]])
T = np.array(0.7)

ELEMENTWISE = [
    (lambda x: np.sin(x) * np.cos(x), V),
    (lambda x: np.tan(x / 4) + np.arctan(x), V),
    (lambda x: np.exp(-x ** 2 / 2) / np.sqrt(2 * np.pi), V),
    (lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0), W),
    (lambda x: 1 / (1 + np.exp(-x)), W),
    (lambda x: np.tanh(x) - np.sinh(x) / np.cosh(x) + np.arcsinh(x), W),
    (lambda x: np.arcsin(x / 4) + np.arccos(x / 4) * np.arctanh(x / 4), V),
    (lambda x: np.log(x) + np.log2(x) - np.log10(x), V),
    (lambda x: np.sqrt(x) * np.cbrt(x) / np.reciprocal(x), V),
    (lambda x, y: np.hypot(x, y) + np.arctan2(y, x), V, U),
    (lambda x, y: x ** y + np.power(y, 3) - np.float_power(x, 2), V, U),
    (lambda x: np.where(x > 0, x, 0.01 * x), W),
    (lambda x: np.clip(x, -0.5, 1.0) ** 2, W),
    (lambda x: np.fmax(x, 0.1) + np.fmin(x, 0.7), W),
    (lambda x: np.square(x) + np.negative(x) - np.positive(x), W),
    (lambda x: np.sign(x) * np.abs(x) ** 1.5, W),
    (lambda x: np.floor(x) * x + np.ceil(x) - np.rint(x) * np.trunc(x) * x, W),
    (lambda x: np.expm1(x) + np.exp2(x) + np.log1p(x ** 2), W),
    (lambda x, y: np.logaddexp(x, y) - np.logaddexp2(x, y), V, U),
    (lambda x: np.deg2rad(x) + np.rad2deg(x) / 100 + np.radians(x) + np.degrees(x) / 90, V),
    (lambda x: np.sinc(x) + np.sinc(x / 3), V),
    (lambda x, y: np.mod(x, y) + np.fmod(x, y), V, U),
    (lambda x, y: np.divmod(x, y)[1] + np.remainder(y, x), V, U),
    (lambda x: np.modf(x)[0] + x, V),
    (lambda x, y: np.copysign(x, y - 1) + np.heaviside(x - 1, 0.5) * y, V, U),
    (lambda x: np.nan_to_num(np.where(x > 1, np.nan, x)) + np.real(x) - np.conj(x), V),
    (lambda x: np.select([x < 0.5, x < 1.5], [x ** 2, x ** 3], 1 / x), V),
    (lambda x: np.piecewise(x, [x < 1, x >= 1], [lambda v: v ** 2, lambda v: np.sqrt(v)]), V),
    (lambda x: np.i0(x) + np.ldexp(x, 2), V),
    (lambda x: np.interp(x, [0.0, 1.0, 2.0, 3.0], [1.0, -1.0, 4.0, 0.5]), V),
    (lambda x: abs(-x) + (+x) - x // 0.7 + x % 0.7, V),
    (lambda x: 2 ** x - x ** 2 + 1 / x - (3 - x) / 2, V),
    (lambda x: (x > 1) * x + (x <= 1) * x ** 2 - np.float64(2) * x, V),
    (lambda x: np.logical_and(x > 0.5, x < 2) * x ** 2 + np.isfinite(x) * x, V),
    (lambda x: x * 1j.imag + (x + 0j).real ** 2, V),
]

REDUCTIONS = [
    (lambda x: np.sum(x ** 2), W),
    (lambda x: x.mean(axis=0) + x.sum(axis=1).mean(), M),
    (lambda x: (x - x.mean()) / x.std(), V),
    (lambda x: np.var(x, axis=1, ddof=1), M),
    (lambda x: np.prod(x) + x.prod(), V),
    (lambda x: np.max(x, axis=1) - np.min(x, axis=0).sum(), M),
    (lambda x: np.ptp(x, axis=0), M),
    (lambda x: np.median(x) + np.percentile(x, 30), W),
    (lambda x: np.quantile(x, [0.1, 0.5, 0.8]), W),
    (lambda x: np.average(x, weights=[1, 2, 3, 4, 5]), V),
    (lambda x: np.average(x, axis=1, weights=np.arange(1.0, 5)), M),
    (lambda x: np.log(np.sum(np.exp(x - x.max()))) + x.max(), W),
    (lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True), M),
    (lambda x: np.sqrt(np.sum(x ** 2, axis=(0, 1))), M),
    (lambda x: np.sum(x, where=x > 0, initial=1.0), W),
    (lambda x: np.mean(x, where=x > 0), W),
    (lambda x: np.nansum(np.where(x > 1, np.nan, x)) + np.nanmean(x) * np.nanmax(x), W),
    (lambda x: np.nanstd(x) + np.nanvar(x) + np.nanmin(x) + np.nanmedian(x), W),
    (lambda x: np.add.reduce(x, axis=1) * np.multiply.reduce(x, axis=0).sum(), M),
    (lambda x: np.maximum.reduce(x ** 2) + np.minimum.reduce(x), M),
    (lambda x: np.logaddexp.reduce(x, axis=1), M),
    (lambda x: np.subtract.reduce(x, axis=1) + np.hypot.reduce(x, axis=1), M),
    (lambda x: x[np.argmax(x)] * x[x.argmin()], W),
    (lambda x: np.count_nonzero(x > 0.5) * x, W),
    (lambda x: np.all(x > 0) * x + np.any(x > 2) * x ** 2, V),
    (lambda x: np.trace(x) + x.trace(offset=1) + np.diagonal(x).prod(), S),
    (lambda x: np.cumsum(x) + np.cumprod(x), V),
    (lambda x: np.cumsum(x, axis=0) * x.cumsum(axis=1), M),
    (lambda x: np.maximum.accumulate(x) - np.add.accumulate(x), W),
    (lambda x: np.nancumsum(x) + np.nanprod(x), V),
    (lambda x: np.add.reduceat(x, [0, 3, 5]) ** 2, W),
    (lambda x: np.apply_along_axis(lambda r: r / (r ** 2).sum(), 1, x), M),
    (lambda x: np.apply_over_axes(np.sum, x ** 2, [0, 1]), M),
    (lambda x: sum(x) + sum(v ** 2 for v in x), V),
]

SHAPES = [
    (lambda x: x.reshape(3, 4).T.ravel(), W),
    (lambda x: x.reshape(-1, 2, 2).swapaxes(0, 2).sum(axis=1), W),
    (lambda x: np.reshape(x, (2, -1)) @ np.ones(6), W),
    (lambda x: x[1:] - x[:-1], W),
    (lambda x: x[::2] * x[1::2], W),
    (lambda x: x[::-1] + x[[0, 0, 1, 1, 2]], V),
    (lambda x: x[:, None] - x[None, :], V),
    (lambda x: x[..., 0] + x[1:, -1].sum(), M),
    (lambda x: x[[2, 0], [1, 3]] * x[-1, ::2], M),
    (lambda x: x[np.array([[0, 1], [2, 4]])] ** 2, V),
    (lambda x: np.take(x, [0, 2], axis=1) + x.take([1, 1], axis=1), M),
    (lambda x: np.take_along_axis(x, np.array([[0], [2], [1]]), axis=1), M),
    (lambda x: np.concatenate([x, x ** 2, [1.0]]), V),
    (lambda x: np.stack([x, 2 * x], axis=1) * np.array([1.0, -1.0]), V),
    (lambda x: np.hstack([x, x[:, :1]]) + np.vstack([x, x[:1]])[:3, :1], M),
    (lambda x: np.dstack([x, x])[..., 0] + np.column_stack([x[:, 0], x[:, 1]]).sum(), M),
    (lambda x: np.split(x, 3)[1] * np.array_split(x, 3)[0], W),
    (lambda x: np.hsplit(x, 2)[0] + np.vsplit(x, 3)[2][:, :2], M),
    (lambda x: np.tile(x, (2, 1)) * np.repeat(x, 2).reshape(2, 5), V),
    (lambda x: np.roll(x, 2) + np.roll(x, -1), V),
    (lambda x: np.flip(x, 0) + np.fliplr(x) - np.flipud(x), M),
    (lambda x: np.rot90(x) @ np.ones(3), M),
    (lambda x: np.transpose(x) @ x, M),
    (lambda x: np.moveaxis(x.reshape(2, 3, 2), 0, -1)[0], W),
    (lambda x: np.expand_dims(x, 1).squeeze() + np.squeeze(x[None], axis=0), V),
    (lambda x: np.broadcast_to(x, (2, 5)).sum(axis=0), V),
    (lambda x: np.atleast_2d(x) + np.atleast_1d(x[0]), V),
    (lambda x: np.pad(x, 2, mode="edge") + np.pad(x, 2), V),
    (lambda x: np.pad(x, ((1, 0), (0, 2)), mode="reflect"), M),
    (lambda x: np.append(x, x[:2]) + np.insert(x, 1, x[:2]), V),
    (lambda x: np.delete(x, [1, 3]) ** 2, V),
    (lambda x: np.triu(x) + np.tril(x, -1).T + np.diag(np.diag(x)), S),
    (lambda x: np.diag(x[:3]) + np.diagflat(x[2:]) + np.vander(x[:3]), V),
    (lambda x: np.sort(x) * np.arange(5.0), V),
    (lambda x: x[np.argsort(x)][::-1], W),
    (lambda x: np.sort(x, axis=0)[1] + np.partition(x, 2, axis=1)[:, 2].sum(), M),
    (lambda x: x[np.lexsort((x, np.round(x)))] * np.arange(12.0), W),
    (lambda x: np.block([[x, x], [np.ones((1, 3)), x[:1]]]), S),
    (lambda x: np.resize(x, (2, 3)) + np.ravel(x)[:6].reshape(2, 3), W),
    (lambda x: np.meshgrid(x, x[:2])[0] * np.meshgrid(x, x[:2])[1], V),
    (lambda x: np.extract(np.array([True, False, True, True, False]), x) + np.compress([1, 1, 1, 0, 0], x), V),
    (lambda x: x[np.array([True, False, True, True, False])].sum() + x, V),
    (lambda x: np.lib.stride_tricks.sliding_window_view(x, 3).mean(axis=-1), W),
    (lambda x: np.choose([0, 1, 0, 1, 1], [x, x ** 2]), V),
    (lambda x: np.array_split(x, 2, axis=1)[1].flatten() + x.flat[:6], M),
    (lambda x: np.zeros_like(x) + np.ones_like(x) * x + np.full_like(x, 2.0), V),
    (lambda x: np.trim_zeros(np.array([0.0, 1.0, 2.0, 0.0])) * x[:2], V),
    (lambda x: np.einsum("ij->ji", x)[::2] + np.asarray([[1.0, 2.0, 3.0]]), M),
    (lambda x: np.rollaxis(x.reshape(2, 3, 2), 2).mean(axis=0) + np.concat([x[:3], x[3:6]]).reshape(2, 3), W),
    (lambda x: np.matrix_transpose(x) + np.permute_dims(x, (1, 0)) * x.mT, M),
    (lambda x: np.unstack(x)[1] - np.astype(x, float)[0], M),
]

PRODUCTS = [
    (lambda x, y: np.dot(x, y) + x @ y, V, U),
    (lambda x, y: np.inner(x, y) * np.vdot(x, y), V, U),
    (lambda x, y: np.outer(x, y) + np.multiply.outer(x, y), V, U),
    (lambda x: x @ x.T + np.matmul(x, x.T), M),
    (lambda x: np.ones(3) @ x @ np.arange(4.0), M),
    (lambda x: np.kron(x[:2], x[2:]), V),
    (lambda x: np.tensordot(x, x, axes=([1], [1])), M),
    (lambda x: np.einsum("ij,kj->ik", x, x), M),
    (lambda x: np.einsum("ii->i", x) * np.einsum("ij,ij", x, x), S),
    (lambda x: np.einsum("i,j,k->ijk", x[:2], x[1:3], x[3:])[0], V),
    (lambda x: np.cross(x[:3], x[2:]), V),
    (lambda x: np.cross(x, [[1.0, 0.0, 2.0]]), S),
    (lambda x: np.convolve(x, [0.25, 0.5, 0.25], mode="same"), W),
    (lambda x: np.convolve(x, x) + np.correlate(x, x[::-1], mode="full"), V),
    (lambda x: x.dot(x).dot(x) - 2 * x, S),
    (lambda x: np.vecdot(x, x) + np.matvec(x, np.arange(4.0)), M),
    (lambda x: np.arctan2.outer(x, x[:2]) + np.power.outer(x, x[:2]), V),
    (lambda x: np.subtract.outer(x, x) ** 2 @ x, V),
    (lambda x: (x[:, :, None] * x[:, None, :]).sum(axis=0), M),
    (lambda x: np.trace(x @ x @ x) + np.sum(x * x.T), S),
]

STATISTICS = [
    (lambda x: np.cov(x), M),
    (lambda x: np.corrcoef(x)[0, 1] + np.corrcoef(x).sum(), M),
    (lambda x: ((x - x.mean()) ** 3).mean() / x.std() ** 3, W),
    (lambda x: ((x - x.mean()) ** 4).mean() / x.var() ** 2 - 3, W),
    (lambda x: -np.sum(np.log(x)) + np.sum(x) * 0.5, V),
    (lambda m, s: np.sum(np.log(s) + (W[:5] - m) ** 2 / (2 * s ** 2)), V, U),
    (lambda x: (lambda p: -np.sum(p * np.log(p)))(x / x.sum()), V),
    (lambda p, q: np.sum(p / p.sum() * np.log((p / p.sum()) / (q / q.sum()))), V, U),
    (lambda x: np.histogram(np.array([0.1, 0.6, 1.4]), bins=2, weights=x[:3])[0], V),
    (lambda x: np.bincount(np.array([0, 1, 1, 2, 0]), weights=x), V),
    (lambda x: np.digitize(x, [0.5, 1.0, 2.0]) * x + np.searchsorted([0.5, 1.0], x), V),
    (lambda x: np.sum(np.abs(np.subtract.outer(x, x))) / (2 * x.size ** 2 * x.mean()), V),
    (lambda x: 1 / np.mean(1 / x) + np.exp(np.mean(np.log(x))), V),
    (lambda x: np.cumsum(x) / np.arange(1, len(x) + 1), W),
    (lambda x: np.sum((x[1:] - x[:-1]) ** 2) / np.sum((x - x.mean()) ** 2), W),
    (lambda x: np.mean((x[:-2] - x.mean()) * (x[2:] - x.mean())) / x.var(), W),
    (lambda b: np.sum((W[:4] - (b[0] + b[1] * np.arange(4.0))) ** 2), V[:2]),
    (lambda b: np.mean(np.log1p(np.exp(-np.array([1, -1, 1]) * (M[:, :2] @ b)))), V[:2]),
    (lambda x: np.quantile(x, 0.75, axis=1) - np.quantile(x, 0.25, axis=1), M),
    (lambda x: np.median(np.abs(x - np.median(x))), W),
    (lambda x: (x - x.min(axis=0)) / (x.max(axis=0) - x.min(axis=0)), M),
    (lambda x: np.where(np.abs(x) < 1, 0.5 * x ** 2, np.abs(x) - 0.5).sum(), W),
    (lambda x: np.var(np.unique(np.array([3.0, 1.0, 3.0])) * x[:2]) + np.isin(2, [1, 2]) * x, V),
]

LEARNING = [
    (lambda x: np.maximum(0, x @ np.ones((4, 2)) + 0.1).sum(axis=1), M),
    (lambda x: (lambda z: z / z.sum(axis=1, keepdims=True))(np.exp(x - x.max(axis=1, keepdims=True))), M),
    (lambda x: -np.mean(np.log(np.exp(x)[np.arange(3), [0, 2, 1]] / np.exp(x).sum(axis=1))), M),
    (lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5), M),
    (lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3))), W),
    (lambda x: x / (1 + np.exp(-x)), W),
    (lambda x: np.where(x > 0, x, np.expm1(x)), W),
    (lambda q: (lambda a: a / a.sum(-1, keepdims=True) @ q)(np.exp(q @ q.T / np.sqrt(4))), M),
    (lambda x: np.exp(-0.5 * ((x[:, None, :] - x[None, :, :]) ** 2).sum(-1)), POINTS),
    (lambda x: x @ x[0] / (np.sqrt((x ** 2).sum(1)) * np.sqrt((x[0] ** 2).sum())), M),
    (lambda w: np.eye(3)[[0, 2]] @ w * np.array([[1.0], [2.0]]), M),
    (lambda w: np.tanh(np.tanh(np.array([0.2, -0.4, 0.6]) @ w) @ w.T) @ np.ones(3), M),
    (lambda w: 0.5 * np.sum(w ** 2) + 0.1 * np.sum(np.abs(w)), W),
    (lambda x: np.minimum(1, np.maximum(0, 0.2 * x + 0.5)), W),
    (lambda x: np.stack([x[i:i + 3].max() for i in range(0, 12, 3)]), W),
    (lambda x: (x * np.array([[1.0, 0.0, 1.0, 1.0]]) / 0.75).sum(axis=0), M),
]


def rnn(w):
    h = np.zeros(3)
    for x in M.T:
        h = np.tanh(w @ h + x)
    return h


def gradient_descent(x):
    w = x
    for _ in range(5):
        w = w - 0.1 * (2 * (w - 1) + np.sin(w))
    return w


def adam(x):
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t in range(1, 4):
        g = 2 * x + 1
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g ** 2
        x = x - 0.1 * (m / (1 - 0.9 ** t)) / (np.sqrt(v / (1 - 0.99 ** t)) + 1e-8)
    return x


def k_means_step(centres):
    distances = ((POINTS[:, None] - centres[None]) ** 2).sum(-1)
    weights = np.exp(-distances) / np.exp(-distances).sum(1, keepdims=True)
    return (weights.T @ POINTS) / weights.sum(0)[:, None]


def perceptron(params):
    w, b = params[:4].reshape(2, 2), params[4:]
    hidden = np.tanh(POINTS @ w + b[:1])
    return np.mean((hidden.sum(axis=1) - np.array([1.0, 0.0, 1.0, 0.0])) ** 2)


LEARNING += [(rnn, S / 3), (gradient_descent, V), (adam, V), (k_means_step, POINTS[:2] + 0.1), (perceptron, V)]

PHYSICS = [
    (lambda x: 0.5 * np.sum(x ** 2) - 0.5 * np.sum(np.cos(np.diff(x))), W),
    (lambda r: 4 * (r ** -12 - r ** -6).sum(), U),
    (lambda p: sum(1 / np.sqrt(np.sum((p[i] - p[j]) ** 2)) for i in range(4) for j in range(i)), POINTS),
    (lambda t: np.array([[1.0, 2.0]]) * np.exp(-t) + np.sin(3 * t), T),
    (lambda t: np.stack([np.cos(t), -np.sin(t), np.sin(t), np.cos(t)]).reshape(2, 2) @ np.array([1.0, 2.0]), T),
    (lambda v: 1 / np.sqrt(1 - (v / 3) ** 2), V),
    (lambda t: 1 / (np.exp(1 / t) - 1), V),
    (lambda x: np.exp(-x[:, None] * np.arange(4)).sum(axis=1), V),
    (lambda s: -np.sum(s * np.roll(s, 1)) - 0.1 * np.sum(s), W),
    (lambda s: -np.sum(s * (np.roll(s, 1, axis=0) + np.roll(s, 1, axis=1))), IMAGE),
    (lambda u: u + 0.1 * (np.roll(u, 1) - 2 * u + np.roll(u, -1)), W),
    (lambda u: u - 0.5 * np.where(u > 0, u - np.roll(u, 1), np.roll(u, -1) - u) * u, W),
    (lambda a, b: np.cross(a[:3], np.cross(b[:3], a[2:])) + a[:3] * np.dot(b[:3], b[2:]), V, U),
    (lambda k: np.sqrt(np.abs(np.sin(k / 2))) + 2 * np.cos(k), V),
    (lambda q: np.sum(np.log(2 * np.sinh(q / 2))), V),
]


def pendulum(state):
    for _ in range(10):
        state = state + 0.05 * np.stack([state[1], -np.sin(state[0])])
    return state


def runge_kutta(y):
    def f(t, y):
        return np.array([[0.0, 1.0], [-1.0, -0.2]]) @ y + np.sin(t)

    t, h = 0.0, 0.1
    for _ in range(3):
        k1 = f(t, y)
        k2 = f(t + h / 2, y + h * k1 / 2)
        k3 = f(t + h / 2, y + h * k2 / 2)
        k4 = f(t + h, y + h * k3)
        y, t = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), t + h
    return y


def verlet(x):
    v = np.zeros_like(x)
    for _ in range(4):
        v = v - 0.05 * (x - 1 / x ** 2)
        x = x + 0.1 * v
        v = v - 0.05 * (x - 1 / x ** 2)
    return 0.5 * np.sum(v ** 2) + np.sum(x)


def lorenz(p):
    x, y, z = p[0], p[1], p[2]
    for _ in range(5):
        x, y, z = x + 0.01 * 10 * (y - x), y + 0.01 * (x * (28 - z) - y), z + 0.01 * (x * y - 8 / 3 * z)
    return np.stack([x, y, z])


def lotka_volterra(p):
    x, y = 1.0, 0.5
    for _ in range(5):
        x, y = x + 0.1 * x * (p[0] - p[1] * y), y - 0.1 * y * (p[2] - p[3] * x)
    return x * y


PHYSICS += [(pendulum, V[:2]), (runge_kutta, V[:2]), (verlet, V), (lorenz, V[:3]), (lotka_volterra, V)]

CALCULUS = [
    (lambda x: np.diff(x, n=2), W),
    (lambda x: np.diff(x, axis=0) ** 2, M),
    (lambda x: np.gradient(x) + np.ediff1d(x, to_end=0.0), W),
    (lambda x: np.gradient(x, 0.5, axis=1), M),
    (lambda x: np.trapezoid(x ** 2, dx=0.1), W),
    (lambda x: np.trapezoid(np.sin(x), x), np.cumsum(V)),
    (lambda x: (x[:-2] - 2 * x[1:-1] + x[2:]) / 0.01, W),
    (lambda u: u[1:-1, :-2] + u[1:-1, 2:] + u[:-2, 1:-1] + u[2:, 1:-1] - 4 * u[1:-1, 1:-1], IMAGE),
    (lambda u: np.sum(np.gradient(u)[0] ** 2 + np.gradient(u)[1] ** 2), IMAGE),
    (lambda x: np.polyval([1.0, -2.0, 0.5], x) + np.polyval(x[:3], 0.7), V),
    (lambda c: np.polyadd(c, [1.0, 2.0]) + np.polymul(c, c)[:5], V),
    (lambda c: np.polyder(c)[:4] + np.polyint(c)[1:5], V),
    (lambda r: np.poly(r[:3]), V),
    (lambda c: np.polydiv(c, [1.0, 0.5])[0], V),
    (lambda x: np.interp([0.5, 1.7], [0.0, 1.0, 2.0], x[:3]), V),
    (lambda x: (lambda i, f: (1 - f) * x[i] + f * x[i + 1])(np.array([0, 2]), np.array([0.3, 0.6])), V),
    (lambda x: np.unwrap(x * 3), W),
    (lambda x: sum(c * np.cos(k * np.arccos(x / 3)) for k, c in enumerate([1.0, 0.5, 0.25])), V),
    (lambda c: np.linspace(0, 1, 4)[:, None] ** np.arange(5) @ c, V),
    (lambda x: np.linspace(x[0], x[1], 4) + np.geomspace(x[1], x[2], 4) + np.logspace(x[0], x[1], 4), V),
    (lambda x: np.polynomial.polynomial.polyval(x, [1.0, 2.0, 3.0]) + np.polynomial.chebyshev.chebval(x, [1.0, 0.5]), V),
    (lambda x: np.poly1d([1.0, 2.0, 3.0])(x), V),
]


def newton_root(a):
    x = np.ones_like(a)
    for _ in range(6):
        x = 0.5 * (x + a / x)
    return x


def horner(c):
    out = 0.0
    for value in c:
        out = out * 0.8 + value
    return out


def lagrange(y):
    nodes, x, out = np.arange(5.0), 1.5, 0.0
    for i in range(5):
        others = np.delete(nodes, i)
        out = out + y[i] * np.prod((x - others) / (nodes[i] - others))
    return out


def continued_fraction(x):
    out = x[-1]
    for value in x[-2::-1]:
        out = value + 1 / out
    return out


def simpson(c):
    x = np.linspace(0, 1, 5)
    return (1 / 12) * np.sum(np.array([1, 4, 2, 4, 1]) * np.exp(-c[:, None] * x), axis=1)


CALCULUS += [(newton_root, V), (horner, V), (lagrange, V), (continued_fraction, V), (simpson, V)]

IMAGES = [
    (lambda u: (u[:-1, :-1] + u[1:, :-1] + u[:-1, 1:] + u[1:, 1:]) / 4, IMAGE),
    (lambda u: u[1:, :] - u[:-1, :], IMAGE),
    (lambda u: np.sqrt((u[1:-1, 2:] - u[1:-1, :-2]) ** 2 + (u[2:, 1:-1] - u[:-2, 1:-1]) ** 2 + 0.1), IMAGE),
    (lambda u: u[:4].reshape(2, 2, 3, 2).max(axis=(1, 3)), IMAGE),
    (lambda u: u[:4].reshape(2, 2, 3, 2).mean(axis=(1, 3)), IMAGE),
    (lambda u: np.lib.stride_tricks.sliding_window_view(u, (3, 3)).sum(axis=(2, 3)), IMAGE),
    (lambda u: np.einsum("ijkl,kl->ij", np.lib.stride_tricks.sliding_window_view(u, (2, 2)), [[1.0, -1.0], [2.0, 0.5]]), IMAGE),
    (lambda u: np.pad(u, 1, mode="wrap")[2:, 1:-1] - u, IMAGE),
    (lambda u: np.sum(np.abs(np.diff(u, axis=0))) + np.sum(np.abs(np.diff(u, axis=1))), IMAGE),
    (lambda u: np.repeat(np.repeat(u[:2, :2], 2, axis=0), 2, axis=1), IMAGE),
    (lambda u: np.clip(0.5 + 1.5 * (u - u.mean()), 0, 1), IMAGE),
    (lambda u: (u ** 2.0).cumsum(axis=0).cumsum(axis=1), IMAGE),
    (lambda u: u.T[::-1] * np.rot90(u), IMAGE),
    (lambda u: np.where(u > 0, u, -u).reshape(5, 3, 2) @ [0.3, 0.7], IMAGE),
    (lambda u: np.convolve(u.ravel(), [1.0, -2.0, 1.0], mode="valid"), IMAGE),
]


def box_blur(u):
    total = np.zeros((3, 4))
    for i in range(3):
        for j in range(3):
            total = total + u[i:i + 3, j:j + 4]
    return total / 9


def bilinear(p):
    i, j = 1, 2
    a, b = p[0] / 4, p[1] / 4
    return (1 - a) * (1 - b) * IMAGE[i, j] + a * (1 - b) * IMAGE[i + 1, j] + (1 - a) * b * IMAGE[i, j + 1] + a * b * IMAGE[2, 3]


IMAGES += [(box_blur, IMAGE), (bilinear, V)]

GEOMETRY = [
    (lambda p: np.sqrt(np.sum((p[:, None] - p[None]) ** 2, axis=-1) + np.eye(4)), POINTS),
    (lambda p: 0.5 * np.sum(p[:, 0] * np.roll(p[:, 1], -1) - p[:, 1] * np.roll(p[:, 0], -1)), POINTS),
    (lambda p: np.sum(np.hypot(*np.diff(p, axis=0).T)), POINTS),
    (lambda p: np.arctan2(p[:, 1], p[:, 0]), POINTS),
    (lambda p: (p - p.mean(axis=0)).T @ (p - p.mean(axis=0)) / 4, POINTS),
    (lambda p: np.max(p, axis=0) - np.min(p, axis=0), POINTS),
    (lambda p: np.sum(np.abs(p[:, None] - p), axis=-1), POINTS),
    (lambda p: p @ np.array([[0.8, -0.6], [0.6, 0.8]]) + [1.0, 2.0], POINTS),
    (lambda p: p[:, 0] + 1j.real * p[:, 1] - np.linspace(0, 1, 4) * p[:, 1], POINTS),
    (lambda t: (1 - t) ** 2 * POINTS[0] + 2 * t * (1 - t) * POINTS[1] + t ** 2 * POINTS[2], T),
    (lambda p: np.sum(np.where(np.arange(4)[:, None] % 2 == 0, p, -p), axis=0), POINTS),
    (lambda p: np.abs(p[:, 0] + 1j * p[:, 1]), POINTS),
    (lambda p: np.angle(p[:, 0] + 1j * p[:, 1]), POINTS),
    (lambda p: np.real(np.exp(1j * p[:, 0]) * np.conj(p[:, 1] + 2j)), POINTS),
    (lambda p: np.minimum.reduce(((p[:, None] - POINTS[None] - 0.3) ** 2).sum(-1), axis=1), POINTS),
    (lambda p: np.concatenate([p, np.ones((4, 1))], axis=1) @ S, POINTS),
]


def matrix_power(a):
    out = np.eye(3)
    for _ in range(3):
        out = out @ a
    return out


def gram_schmidt(a):
    basis = []
    for v in a:
        for b in basis:
            v = v - np.dot(v, b) * b
        basis.append(v / np.sqrt(np.dot(v, v)))
    return np.stack(basis)


def power_iteration(a):
    v = np.ones(3)
    for _ in range(5):
        v = a @ v
        v = v / np.sqrt(v @ v)
    return v @ a @ v


def determinant(a):
    return (a[0, 0] * (a[1, 1] * a[2, 2] - a[1, 2] * a[2, 1]) - a[0, 1] * (a[1, 0] * a[2, 2] - a[1, 2] * a[2, 0])
            + a[0, 2] * (a[1, 0] * a[2, 1] - a[1, 1] * a[2, 0]))


def jacobi(a):
    x = np.zeros(3)
    for _ in range(4):
        x = (np.arange(3.0) - (a @ x - np.diag(a) * x)) / np.diag(a)
    return x


def exponential_series(a):
    term, total = np.eye(3), np.eye(3)
    for k in range(1, 7):
        term = term @ a / k
        total = total + term
    return total


def exponential_average(x):
    out = [x[0]]
    for value in x[1:]:
        out.append(0.7 * out[-1] + 0.3 * value)
    return np.stack(out)


def compound_interest(r):
    balance = 1.0
    for deposit in (0.1, 0.2, 0.3):
        balance = balance * (1 + r / 10) + deposit
    return balance


def black_scholes(x):
    s, k, v = x[0] + 1, 1.5, x[1]
    d = (np.log(s / k) + v ** 2 / 2) / v
    return s / (1 + np.exp(-1.7 * d)) - k / (1 + np.exp(-1.7 * (d - v)))


def markov(x):
    transition = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    p = np.array([1.0, 0.0, 0.0])
    for _ in range(3):
        p = p @ transition
    return p


LOOPS = [(matrix_power, S), (gram_schmidt, S), (power_iteration, S), (determinant, S), (jacobi, S), (exponential_series, S / 2),
         (exponential_average, V), (compound_interest, V), (black_scholes, V), (markov, S)]

FOURIER = [
    (lambda x: np.abs(np.fft.fft(x)), W),
    (lambda x: np.fft.ifft(np.fft.fft(x) * np.fft.fft(np.ones(12) / 12)).real, W),
    (lambda x: np.abs(np.fft.rfft(x)) ** 2, W),
    (lambda x: np.fft.irfft(np.fft.rfft(x) * np.exp(-np.fft.rfftfreq(12)), 12), W),
    (lambda x: np.fft.fftshift(np.fft.fft(x)).imag + np.fft.ifftshift(x), W),
    (lambda u: np.real(np.fft.fft2(u)), IMAGE),
    (lambda u: np.fft.ifft2(np.fft.fft2(u) * 0.5).real, IMAGE),
    (lambda u: np.fft.irfftn(np.fft.rfftn(u), u.shape, axes=(0, 1)), IMAGE),
    (lambda x: np.fft.hfft(x).real + np.fft.fftfreq(8, 0.5), V),
    (lambda x: np.fft.fft(x, 8, norm="ortho").real, V),
    (lambda u: np.fft.fft(u, axis=0).real + np.fft.ifftn(u).imag, IMAGE),
    (lambda x: np.fft.ifft(1j * 2 * np.pi * np.fft.fftfreq(12) * np.fft.fft(x)).real, W),
]

LINEAR_ALGEBRA = [
    (lambda a: np.linalg.solve(a, np.arange(3.0)), S),
    (lambda a: np.linalg.inv(a) @ a.T, S),
    (lambda a: np.linalg.det(a) + np.linalg.slogdet(a)[1], S),
    (lambda a: np.linalg.cholesky(a @ a.T), S),
    (lambda a: np.linalg.eigvalsh(a @ a.T), S),
    (lambda a: np.linalg.eigh(a + a.T)[1][:, 0] ** 2, S),
    (lambda a: np.linalg.svd(a, compute_uv=False), M),
    (lambda a: (lambda u, s, v: (u * s) @ v)(*np.linalg.svd(a, full_matrices=False)), M),
    (lambda a: np.linalg.qr(a)[0] @ np.linalg.qr(a)[1], S),
    (lambda a: np.linalg.norm(a) + np.linalg.norm(a, axis=1).sum() + np.linalg.norm(a, 1) + np.linalg.norm(a, np.inf), M),
    (lambda a: np.linalg.matrix_power(a, 3) + np.linalg.matrix_power(a, -1), S),
    (lambda a: np.linalg.pinv(a), M),
    (lambda a: np.linalg.lstsq(a.T, np.arange(4.0), rcond=None)[0], M),
    (lambda a: np.linalg.multi_dot([a, a.T, a]), M),
    (lambda a: np.linalg.tensorinv(a.reshape(3, 1, 3), ind=1).ravel()[:3], S),
    (lambda a: np.linalg.cond(a), S),
    (lambda a: np.linalg.vector_norm(a, axis=0) + np.linalg.matrix_norm(a), M),
    (lambda a: np.linalg.trace(a) + np.linalg.diagonal(a) + np.linalg.vecdot(a, a), S),
    (lambda a: np.linalg.outer(a[0], a[1]) + np.linalg.matrix_transpose(a) + np.linalg.cross(a, a[::-1]), S),
    (lambda x: np.linalg.solve(x.T @ x + np.eye(2), x.T @ np.ones(4)), POINTS),
    (lambda x: -0.5 * np.ones(3) @ np.linalg.solve(x @ x.T, np.ones(3)) - 0.5 * np.linalg.slogdet(x @ x.T)[1], S),
    (lambda x: np.linalg.eigvalsh(np.cov(x.T))[-1], POINTS),
    (lambda x: np.polyfit(np.arange(5.0), x, 2), V),
]

GROUPS = {"elementwise": ELEMENTWISE, "reductions": REDUCTIONS, "shapes": SHAPES, "products": PRODUCTS,
          "statistics": STATISTICS, "learning": LEARNING, "physics": PHYSICS, "calculus": CALCULUS, "images": IMAGES,
          "geometry": GEOMETRY, "loops": LOOPS, "fourier": FOURIER,
          "linear algebra": LINEAR_ALGEBRA}
