"""The table of operations on a GPU, in the simulator: values, batches and derivatives equal the interpreter's.

Each program is scheduled for CUDA, and its kernels are run thread by thread (``simt.py``), which also finds races, memory that
nobody wrote, and accesses out of bounds.
"""
from __future__ import annotations

import numpy as np
import pytest
from operations import OPERATIONS, Operation
from simt_program import run_schedule

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax

ROWS = pytest.mark.parametrize("operation", OPERATIONS, ids=str)
NARROW = {np.dtype(np.float32): 2e-6, np.dtype(np.complex64): 2e-6, np.dtype(np.float16): 2e-3, np.dtype(fnp.bfloat16): 2e-2}
"""How far results of narrow dtypes may be away: sums are added up in another order, and compiled functions round otherwise."""


def assert_equal_on_gpu(f, *args, tolerance=1e-11):
    """The simulated program gives what the interpreter gives."""
    args = [fnp.asarray(x) if isinstance(x, np.ndarray) else x for x in args]
    with fg.disable_jit():
        expected = fg.tree.leaves(f(*args))
    found = run_schedule(fg.make_jaxpr(f)(*args), fg.tree.leaves(args))
    for x, y in zip(found, expected, strict=True):
        y = np.asarray(y)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        limit = max(NARROW.get(x.dtype, 0), tolerance)
        kind = np.complex128 if x.dtype.kind == "c" else np.float64
        np.testing.assert_allclose(x.astype(kind), y.astype(kind), rtol=limit, atol=limit)


def inexact(operation: Operation) -> list[int]:
    return [i for i, x in enumerate(operation.args) if np.asarray(x).dtype.kind in "fc"]


def loss_of(operation: Operation):
    """The sum of all results as a function of the inexact arguments."""
    where = inexact(operation)

    def loss(*xs):
        args = list(operation.args)
        for i, x in zip(where, xs, strict=True):
            args[i] = x
        return sum(fnp.sum(fnp.sin(fnp.abs(y))) for y in fg.tree.leaves(operation.function(*args)) if y.dtype.kind in "fc")

    return loss, [np.asarray(operation.args[i]) for i in where]


@ROWS
def test_values(operation):
    assert_equal_on_gpu(operation.function, *operation.args)


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.float32], ids=str)
def test_values_of_float32(operation):
    args = [np.asarray(x, np.float32) if np.asarray(x).dtype == np.float64 and type(x) is not float else x for x in operation.args]
    assert_equal_on_gpu(operation.function, *args, tolerance=1e-4)


@ROWS
def test_batches(operation):
    positions = operation.batched if operation.batched is not None else range(len(operation.args))
    args = [np.stack([x, x * 0.9 if np.asarray(x).dtype.kind in "fc" else x], -1) if i in positions else x
            for i, x in enumerate(operation.args)]
    assert_equal_on_gpu(fg.vmap(operation.function, tuple([-1 if i in positions else None for i in range(len(args))])), *args)


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.order], ids=str)
def test_gradients(operation):
    loss, args = loss_of(operation)
    narrow = any(np.asarray(y).dtype.itemsize < 8 for y in fg.tree.leaves(operation.function(*operation.args)))
    assert_equal_on_gpu(fg.grad(loss, tuple(range(len(args)))), *args, tolerance=1e-5 if narrow else 1e-9)


# ---------------------------------------------------------------- sizes at which teams, chunks and blocks change


def data(*shape: int, dtype=np.float64) -> np.ndarray:
    size = int(np.prod(shape))
    return (np.sin(np.arange(size) * 1.7 + 0.3) + 0.01 * np.cos(np.arange(size))).reshape(shape).astype(dtype)


def normalise(x):
    centred = x - fnp.mean(x, axis=-1, keepdims=True)
    return centred / fnp.sqrt(fnp.mean(centred ** 2, axis=-1, keepdims=True) + 1e-5)


FUNCTIONS = {
    "map": lambda x: fnp.tanh(x) * 2 + x.T.T, "transposed": lambda x: fnp.exp(x.T) + 1, "rows": lambda x: fnp.sum(x * x, axis=-1),
    "columns": lambda x: fnp.sum(x * x, axis=0), "all": lambda x: fnp.sum(fnp.cos(x)), "maximum": lambda x: fnp.max(x, axis=-1),
    "product": lambda x: fnp.prod(1 + x * 1e-3, axis=0), "any": lambda x: fnp.any(x > 0.9, axis=0),
    "integers": lambda x: fnp.sum((x * 100).astype(fnp.int32), axis=-1, dtype=fnp.int32),
    "softmax": fg.nn.softmax, "normalise": normalise, "variance": lambda x: fnp.var(x, axis=0),
    "slope": fg.grad(lambda x: fnp.sum(normalise(x) ** 3)), "outer": lambda x: x[:, :1] * x[:1],
    "two sums": lambda x: (fnp.sum(x), fnp.sum(fnp.abs(x)), fnp.max(x)), "both": lambda x: (fnp.sum(x, 0), fnp.sum(x, 1)),
    "complex": lambda x: fnp.sum(fnp.exp(1j * x), axis=-1), "half": lambda x: fnp.sum(x.astype(np.float16), axis=-1),
    "reversed": lambda x: x[::-1, ::-1] * 2 + x, "joined": lambda x: fnp.concatenate([x, x * 2], axis=-1),
    "middle": lambda x: fnp.sum(x[:, :, None] * fnp.ones(3), axis=1), "log": lambda x: fg.nn.logsumexp(x, axis=-1),
    "cumulative": lambda x: fnp.cumsum(x, axis=-1), "sorted": lambda x: fnp.sort(x, axis=-1),
    "scanned": lambda x: lax.scan(lambda c, row: (fnp.sin(c + row), fnp.sum(c)), x[0] * 0 if x.shape[0] else fnp.zeros(x.shape[1]), x),
}
SHAPES = [(1, 1), (2, 33), (3, 257), (300, 2), (5, 64), (1, 2100), (0, 3), (3, 0)]
UNDEFINED = {"maximum", "two sums", "log", "softmax", "normalise", "variance", "slope"}
"""Functions that have no value where there is nothing."""
BY_STEPS = {"integers", "slope"}
"""Functions that show where the interpreter rounds narrow floats between operations: a kernel does not."""
LARGE = {"rows": (2, 5000), "columns": (2500, 3), "all": (90, 70), "softmax": (2, 2500), "two sums": (70, 100), "map": (60, 70)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sizes(name):
    for shape in SHAPES:
        if 0 in shape and name in UNDEFINED:
            continue
        assert_equal_on_gpu(FUNCTIONS[name], data(*shape))
    assert_equal_on_gpu(FUNCTIONS[name], data(7, 37, dtype=np.float32), tolerance=3e-6)
    for dtype in (np.float16, fnp.bfloat16) if name not in BY_STEPS else ():
        assert_equal_on_gpu(FUNCTIONS[name], data(7, 37, dtype=dtype))


@pytest.mark.parametrize("name", LARGE)
def test_large_sizes(name):
    assert_equal_on_gpu(FUNCTIONS[name], data(*LARGE[name]))


# ---------------------------------------------------------------- programs of many steps


def layers(x, *weights):
    for w in weights[:-1]:
        x = fnp.tanh(x @ w)
    return fnp.mean((x @ weights[-1] - 1) ** 2)


def step_of_adam(w, m, v, x):
    slope = fg.grad(lambda w: layers(x, w, w.T))(w)
    m, v = 0.9 * m + 0.1 * slope, 0.99 * v + 0.01 * slope ** 2
    return w - 0.01 * m / (fnp.sqrt(v) + 1e-8), m, v


def attention(q, k, v):
    score = fnp.einsum("hqd,hkd->hqk", q, k) / 3
    score = fnp.where(fnp.tri(q.shape[1], dtype=bool), score, -fnp.inf)
    return fnp.sum(fnp.einsum("hqk,hkd->hqd", fg.nn.softmax(score), v) ** 2)


def recurrent(w, x):
    def step(carry, row):
        h, c = carry
        i, f, g, o = fnp.split(fnp.concatenate([row, h]) @ w, 4)
        c = fg.nn.sigmoid(f) * c + fg.nn.sigmoid(i) * fnp.tanh(g)
        h = fg.nn.sigmoid(o) * fnp.tanh(c)
        return (h, c), h

    zero = fnp.zeros(w.shape[1] // 4)
    return fnp.sum(lax.scan(step, (zero, zero), x)[1] ** 2)


def newton(a):
    return lax.while_loop(lambda s: fnp.max(fnp.abs(s[1] - s[0])) > 1e-12, lambda s: (s[1], (s[1] + a / s[1]) / 2), (a * 0, a))[1]


def images(x, w):
    y = lax.conv_general_dilated(x, w, (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    y = fnp.maximum(y - fnp.mean(y, axis=(0, 1, 2)), 0)
    return fnp.sum(lax.reduce_window(y, -fnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") ** 2)


def choices(x, i):
    return lax.map(lambda k: lax.switch(k % 3, [lambda: fnp.sum(x[k]), lambda: fnp.max(x), lambda: x[0, 0]]), i)


def wide_products(x, y):
    """Each is a product of narrow floats that gives float32."""
    return lax.dot_general(x, y, (((2,), (1,)), ((0,), (0,))), preferred_element_type=np.float32)


def looked_up(table, i):
    return -fnp.mean(fnp.take_along_axis(fg.nn.log_softmax(table[i] @ table.T), i[:, None], axis=1))


PROGRAMS = {
    "layers": (fg.grad(layers, (0, 1, 2, 3)), data(9, 20), data(20, 40), data(40, 33), data(33, 2)),
    "adam": (step_of_adam, data(12, 30), data(12, 30) * 0, data(12, 30) ** 2, data(8, 12)),
    "attention": (fg.grad(attention, (0, 1, 2)), data(2, 11, 9), data(2, 11, 9) * 0.9, data(2, 11, 9) + 1),
    "products": (lambda x, y: fnp.tanh(x @ y), data(3, 40, 50), data(3, 50, 60)),
    "wide products": (wide_products, data(3, 40, 50, dtype=fnp.bfloat16), data(3, 50, 60, dtype=fnp.bfloat16)),
    "recurrent": (fg.grad(recurrent, (0, 1)), data(11, 24), data(7, 5)),
    "recurrent batch": (fg.vmap(fg.grad(recurrent), (None, 0)), data(11, 24), data(3, 4, 5)),
    "newton": (newton, abs(data(40)) + 0.1), "newton batch": (fg.vmap(newton), abs(data(3, 40)) + 0.1),
    "images": (fg.grad(images, (0, 1)), data(2, 8, 6, 3), data(3, 3, 3, 4)),
    "choices": (choices, data(5, 6), np.array([0, 4, 2, 1])),
    "looked up": (fg.grad(looked_up), data(17, 8), np.array([3, 1, 3, 16, 0, 3])),
    "hessian": (fg.hessian(lambda x: fnp.sum(fnp.sin(x) * fnp.cumsum(x) ** 2)), data(7)),
    "random": (lambda x: fg.random.normal(fg.random.key(3), (40, 3)) * x, data(3)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    assert_equal_on_gpu(*PROGRAMS[name], tolerance=1e-9)
