"""What programs become: how many kernels, matrix products and host steps, for values and gradients.

A change of fusion shows here. After one that is meant, ``python tests/test_schedules.py`` prints the table anew.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from comparing import compare

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.compiler import executable
from funcgrad.core.primitive import Native

GENERATOR = np.random.default_rng(0)


def real(*shape: int) -> np.ndarray:
    return GENERATOR.uniform(0.5, 1.5, shape).astype(np.float32)


X, V, IMAGE = real(64, 128), real(128), real(8, 4, 32, 32)
LABELS = np.arange(64) % 128
LAYERS = [(real(128, 256), real(256)), (real(256, 256), real(256)), (real(256, 10), real(10))]
QUERY, KEY, VALUE = real(4, 8, 64, 32), real(4, 8, 64, 32), real(4, 8, 64, 32)
TREE = {"w": real(64, 128), "b": real(128)}


def layer_norm(x, scale, shift):
    centred = x - fnp.mean(x, axis=-1, keepdims=True)
    return centred / fnp.sqrt(fnp.mean(centred ** 2, axis=-1, keepdims=True) + 1e-5) * scale + shift


def rms_norm(x, scale):
    return x * lax.rsqrt(fnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * scale


def batch_norm(x, scale, shift):
    mean, variance = fnp.mean(x, axis=(0, 2, 3), keepdims=True), fnp.var(x, axis=(0, 2, 3), keepdims=True)
    return (x - mean) / fnp.sqrt(variance + 1e-5) * scale[:, None, None] + shift[:, None, None]


def cross_entropy(x, labels):
    return -fnp.mean(fnp.take_along_axis(fg.nn.log_softmax(x), labels[:, None], axis=1))


def one_hot_cross_entropy(x, labels):
    return -fnp.mean(fnp.sum(fg.nn.one_hot(labels, 128) * fg.nn.log_softmax(x), axis=1))


def adam(p, g, m, v):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return p - 1e-3 * (m / 0.1) / (fnp.sqrt(v / 0.001) + 1e-8), m, v


def attention(q, k, v):
    scores = fnp.einsum("bhqd,bhkd->bhqk", q, k) / np.float32(np.sqrt(32))
    return fnp.einsum("bhqk,bhkd->bhqd", fg.nn.softmax(scores), v)


def causal_attention(q, k, v):
    scores = fnp.einsum("bhqd,bhkd->bhqk", q, k) / np.float32(np.sqrt(32))
    return fg.nn.softmax(fnp.where(fnp.tril(fnp.ones((64, 64), bool)), scores, -1e9)) @ v


def mlp(layers, x):
    for w, b in layers[:-1]:
        x = fnp.tanh(x @ w + b)
    return x @ layers[-1][0] + layers[-1][1]


def gelu(x):
    return 0.5 * x * (1 + fnp.tanh(0.7978845608 * (x + 0.044715 * x ** 3)))


def black_scholes(spot, strike, rate, volatility, time):
    spread = volatility * fnp.sqrt(time)
    first = (fnp.log(spot / strike) + (rate + volatility * volatility / 2) * time) / spread

    def normal(z):
        return 0.5 * (1 + fg.lax.erf(z / np.float32(np.sqrt(2))))

    return spot * normal(first) - strike * fnp.exp(-rate * time) * normal(first - spread)


def pairwise_distances(x, y):
    return fnp.sqrt(fnp.sum((x[:, None] - y[None]) ** 2, axis=-1) + 1e-6)


def polynomial(x):
    return fnp.polyval(np.arange(1, 9, dtype=np.float32), x)


def logistic_regression(w, x, y):
    z = x @ w
    return fnp.mean(fnp.logaddexp(0, z) - y * z)


def scan_rnn(w, xs):
    return lax.scan(lambda h, x: (fnp.tanh(h @ w + x), None), fnp.zeros_like(xs[0]), xs)[0]


def convolution_block(x, w, b):
    y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return lax.reduce_window(fg.nn.relu(y + b), -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def depthwise_block(x, w, b):
    return fg.nn.relu(lax.conv_general_dilated(x, w, (1, 1), "SAME", feature_group_count=4) + b[:, None, None])


def gram_schmidt_step(q, v):
    return v - q @ (fnp.transpose(q) @ v)


PROGRAMS: dict[str, tuple] = {
    "sin": (fnp.sin, X),
    "polynomial": (polynomial, X),
    "gelu": (gelu, X),
    "softplus of a difference": (lambda x, y: fg.nn.softplus(x - y), X, X),
    "black scholes": (black_scholes, *[real(4096) for _ in range(5)]),
    "sum of squares": (lambda x: fnp.sum(x * x), X),
    "variance": (fnp.var, X),
    "variance of columns": (lambda x: fnp.var(x, axis=0), X),
    "variance of rows": (lambda x: fnp.var(x, axis=1), X),
    "norm": (lambda x: fnp.sqrt(fnp.sum(x * x)), X),
    "logsumexp": (lambda x: fg.nn.logsumexp(x, axis=-1), X),
    "softmax": (lambda x: fg.nn.softmax(x), X),
    "softmax of columns": (lambda x: fg.nn.softmax(x, axis=0), X),
    "log softmax": (lambda x: fg.nn.log_softmax(x), X),
    "layer norm": (layer_norm, X, V, V),
    "rms norm": (rms_norm, X, V),
    "batch norm": (batch_norm, IMAGE, real(4), real(4)),
    "cross entropy": (cross_entropy, X, LABELS),
    "one-hot cross entropy": (one_hot_cross_entropy, X, LABELS),
    "logistic regression": (logistic_regression, V, X, real(64)),
    "linear layer": (lambda x, w, b: x @ w + b, X, *LAYERS[0]),
    "mlp": (mlp, LAYERS, X),
    "mlp with a loss": (lambda layers, x, y: fnp.mean((mlp(layers, x) - y) ** 2), LAYERS, X, real(64, 10)),
    "attention": (attention, QUERY, KEY, VALUE),
    "causal attention": (causal_attention, QUERY, KEY, VALUE),
    "adam": (adam, *[real(64, 128) for _ in range(4)]),
    "adam of a tree": (lambda p, g, m, v: fg.tree.map(lambda *xs: adam(*xs)[0], p, g, m, v), TREE, TREE, TREE, TREE),
    "pairwise distances": (pairwise_distances, real(40, 16), real(50, 16)),
    "outer product": (lambda a, b: fnp.outer(a, b) + 1, V, V),
    "projection": (gram_schmidt_step, real(128, 16), V),
    "cumulative sums": (lambda x: fnp.cumsum(x * x, axis=1), X),
    "rows by index": (lambda x, i: x[i] * 2, X, LABELS[:20]),
    "transposed sum": (lambda x: fnp.sum(fnp.transpose(x) * 2, axis=0), X),
    "differences": (lambda x: fnp.sum((x[1:] - x[:-1]) ** 2), X),
    "recurrent": (scan_rnn, real(16, 16), real(10, 4, 16)),
    "convolution block": (convolution_block, real(8, 12, 12, 8), real(3, 3, 8, 16), real(16)),
    "depthwise block": (depthwise_block, IMAGE, real(4, 1, 3, 3), real(4)),
    "pointwise block": (convolution_block, real(8, 12, 12, 8), real(1, 1, 8, 16), real(16)),
    "transposed convolution": (lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME"), real(8, 6, 6, 8), real(3, 3, 8, 4)),
    "mixed precision": (lambda x: fnp.sum(x.astype("bfloat16") * 2, dtype=np.float32), X),
}
"""A function and its arguments; the gradient is with respect to all that are floats."""


def gradient(f: Callable) -> Callable:
    def total(*args):
        return sum(fnp.sum(y * (y + 1)) for y in fg.tree.leaves(f(*args)))

    def of(*args):
        where = tuple(i for i, x in enumerate(args) if fg.tree.leaves(x)[0].dtype.kind == "f")
        return fg.grad(total, where)(*args)

    return of


def kinds(steps) -> Iterator[str]:
    """What each step is: a fused kernel, a matrix product, a hand-shaped kernel or host step with its name, a loop."""
    for step in steps:
        if step.kind == "loop":
            yield f"{step.kernel.kind} of ({', '.join(counted(part) for part, _ in step.kernel.parts)})"
        elif step.kind == "kernel" and step.equation is not None and isinstance(step.equation.primitive.code, Native):
            yield step.equation.primitive.name
        elif step.kind == "host":
            yield f"host {step.equation.primitive.name}"
        else:
            yield step.kind


def counted(steps) -> str:
    return " + ".join(f"{n} {kind}" if n > 1 else kind for kind, n in sorted(Counter(kinds(steps)).items())) or "nothing"


def schedule_of(f: Callable, args: tuple) -> str:
    return counted(executable(fg.make_jaxpr(f)(*args)).schedule.steps)


def table() -> dict[str, tuple[str, str]]:
    return {name: (schedule_of(f, args), schedule_of(gradient(f), args)) for name, (f, *args) in PROGRAMS.items()}


GOLDEN: dict[str, tuple[str, str]] = {
    "sin": ("kernel", "kernel"),
    "polynomial": ("kernel", "kernel"),
    "gelu": ("kernel", "kernel"),
    "softplus of a difference": ("kernel", "kernel"),
    "black scholes": ("kernel", "kernel"),
    "sum of squares": ("2 kernel", "3 kernel"),
    "variance": ("4 kernel", "7 kernel"),
    "variance of columns": ("4 kernel", "7 kernel"),
    "variance of rows": ("kernel", "kernel"),
    "norm": ("2 kernel", "3 kernel"),
    "logsumexp": ("kernel", "kernel"),
    "softmax": ("kernel", "kernel"),
    "softmax of columns": ("5 kernel", "7 kernel"),
    "log softmax": ("kernel", "kernel"),
    "layer norm": ("kernel", "3 kernel"),
    "rms norm": ("kernel", "2 kernel"),
    "batch norm": ("kernel", "kernel"),
    "cross entropy": ("gather + 2 kernel", "2 gather + 4 kernel"),
    "one-hot cross entropy": ("3 kernel", "4 kernel"),
    "logistic regression": ("2 kernel", "6 kernel"),
    "linear layer": ("gemm + kernel", "3 gemm + 2 kernel"),
    "mlp": ("3 gemm + 3 kernel", "9 gemm + 7 kernel"),
    "mlp with a loss": ("3 gemm + 3 kernel", "9 gemm + 8 kernel"),
    "attention": ("2 gemm + kernel", "6 gemm + 3 kernel"),
    "causal attention": ("2 gemm + 2 kernel", "6 gemm + 4 kernel"),
    "adam": ("kernel", "kernel"),
    "adam of a tree": ("2 kernel", "2 kernel"),
    "pairwise distances": ("kernel", "5 kernel"),
    "outer product": ("kernel", "2 kernel"),
    "projection": ("2 kernel", "4 kernel"),
    "cumulative sums": ("cumsum + kernel", "2 cumsum + 3 kernel"),
    "rows by index": ("gather + kernel", "gather + kernel + scatter_add"),
    "transposed sum": ("2 kernel", "3 kernel"),
    "differences": ("2 kernel", "4 kernel + 2 pad"),
    "recurrent": ("3 kernel + loop of (gemm + kernel)", "gemm + 5 kernel + loop of (gemm + 2 kernel) + loop of (gemm + kernel)"),
    "convolution block": ("convolve + kernel + reduce_window_max",
                          "convolve + convolve_input + convolve_kernel + 5 kernel + reduce_window_max + select_and_scatter_add"),
    "depthwise block": ("convolve + 2 kernel", "convolve + convolve_input + convolve_kernel + 4 kernel"),
    "pointwise block": ("gemm + kernel + reduce_window_max", "3 gemm + 4 kernel + reduce_window_max + select_and_scatter_add"),
    "transposed convolution": ("convolve_input + kernel", "convolve + convolve_input + convolve_kernel + 3 kernel"),
    "mixed precision": ("2 kernel", "3 kernel"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_number_of_steps(name):
    f, *args = PROGRAMS[name]
    assert (schedule_of(f, args), schedule_of(gradient(f), args)) == GOLDEN[name]


# ---------------------------------------------------------------- sources

SOURCES: dict[str, tuple] = {
    "a map": (lambda x, y: fnp.sin(x) * y + 1, (real(100), real(100)), """
def kernel(pointers, sizes, start, stop):
    p0 = pointer_f32(pointers, 0)
    p1 = pointer_f32(pointers, 1)
    p2 = pointer_f32(pointers, 2)
    for r in range(start, stop):
        v0 = p0[r]
        v1 = sin_f32(v0)
        v2 = p1[r]
        v3 = v1 * v2
        v4 = v3 + f32(1.0)
        p2[r] = v4
"""),
    "a reduction of rows": (lambda x: fnp.max(x, axis=1), (np.ones((300, 40)),), """
def kernel(pointers, sizes, start, stop):
    p0 = pointer_f64(pointers, 0)
    p1 = pointer_f64(pointers, 1)
    s0 = word(sizes, 0)
    s1 = word(sizes, 1)
    for r in range(start, stop):
        b0 = r * s0
        t0 = f64(-inf)
        for j0 in range(s1):
            v1 = p0[b0 + j0]
            t0 = maximum_f64(t0, v1)
        p1[r] = t0
"""),
    "a small sum": (fnp.sum, (np.ones(40),), """
def kernel(pointers, sizes, start, stop):
    p0 = pointer_f64(pointers, 0)
    p1 = pointer_f64(pointers, 1)
    s0 = word(sizes, 0)
    for r in range(start, stop):
        t0 = f64(0.0)
        for j0b in range(0, s0, 2048):
            t1 = f64(0.0)
            for j0 in range(j0b, min(j0b + 2048, s0)):
                v3 = p0[j0]
                t1 = plus_f64(t1, v3)
            t0 = t0 + f64(t1)
        v2 = f64(t0)
        p1[0] = v2
"""),
}


@pytest.mark.parametrize("name", SOURCES)
def test_sources_of_kernels(name):
    f, args, expected = SOURCES[name]
    step, = executable(fg.make_jaxpr(f)(*args)).schedule.steps
    assert step.kernel.source.strip() == expected.strip()


def test_equal_loops_of_different_programs_and_sizes_are_one_kernel():
    def source(f, *args):
        step, = executable(fg.make_jaxpr(f)(*args)).schedule.steps
        return step.kernel.source

    assert source(lambda x: fnp.sin(x) + 1, real(100)) == source(lambda y: fnp.sin(y) + 1, real(300, 70))
    assert source(lambda x: fg.nn.softmax(x), real(20, 100)) == source(lambda x: fg.nn.softmax(x), real(7, 5, 333))


if __name__ == "__main__":
    for name, (value, derivative) in table().items():
        print(f"    {name!r}: ({value!r}, {derivative!r}),".replace("'", '"'))


# ---------------------------------------------------------------- sums of products

A, B = np.ones((40, 30), np.float32), np.ones((30, 20), np.float32)
SUMS = {
    "two": (lambda a, b, c: a @ b + a @ c, (A, B, B + 1), "2 gemm"),
    "three": (lambda a, b, c: a @ b + (a @ c + a @ (b - c)), (A, B, B + 1), "3 gemm + kernel"),
    "transposed together": (lambda a, b, c: (a @ b).T + (a @ c).T, (A, B, B + 1), "2 gemm"),
    "of other operands": (lambda a, b: a @ b + (b.T @ a.T), (A[:, :30], np.ones((30, 40), np.float32)), "2 gemm"),
    "one of them transposed": (lambda a, b: a @ b + (b @ a).T, (A[:30], A[:30].T[:30]), None),
    "one read elsewhere too": (lambda a, b, c: ((p := a @ b) + a @ c, fnp.tanh(p)), (A, B, B + 1), "2 gemm + kernel"),
    "one needs the other": (lambda a, b: (p := a @ b) + p @ b, (A[:, :30], np.ones((30, 30), np.float32)), "2 gemm + kernel"),
    "narrow floats": (lambda a, b, c: a @ b + a @ c, (A.astype(np.float16), B.astype(np.float16), B.astype(np.float16)), None)}


@pytest.mark.parametrize("name", SUMS)
def test_the_later_of_two_products_is_added_to_the_memory_of_the_earlier(name):
    f, args, expected = SUMS[name]
    args = [np.random.default_rng(i).normal(size=x.shape).astype(x.dtype) for i, x in enumerate(args)]
    if expected is not None:
        assert schedule_of(f, args) == expected
    compare(f, *args, ulp=16, scale=1)
    compare(gradient(f), *args, ulp=64, scale=1)
