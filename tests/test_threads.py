"""Threads: results do not depend on how many there are, on who calls at the same time, or on a fork."""
from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.compiler import cpu

GENERATOR = np.random.default_rng(0)
WIDE, TALL, FLAT = GENERATOR.normal(size=(70, 9001)), GENERATOR.normal(size=(9001, 70)), GENERATOR.normal(size=600_011)


@pytest.fixture(autouse=True)
def restored():
    before = cpu.num_threads()
    yield
    cpu.set_num_threads(before)


def gradient(f):
    return lambda *args: fg.grad(lambda *xs: fnp.sum(f(*xs)), tuple(range(len(args))))(*args)


PROGRAMS = {
    "map": (lambda x: fnp.sin(x) * x + 1, FLAT),
    "sum": (fnp.sum, FLAT),
    "sum in float32": (fnp.sum, FLAT.astype(np.float32)),
    "product": (lambda x: fnp.prod(1 + x * 1e-6), FLAT),
    "largest": (lambda x: (fnp.max(x), fnp.argmax(x)), FLAT),
    "several sums and a map": (lambda x: (fnp.sum(x), fnp.sum(x * x), x / fnp.sum(fnp.abs(x))), FLAT),
    "rows": (lambda x: fg.nn.softmax(x, axis=1), WIDE),
    "many rows": (lambda x: fg.nn.softmax(x, axis=1), TALL),
    "columns": (lambda x: (fnp.sum(x, axis=0), fnp.max(x, axis=0), fnp.sum(x * x, axis=0)), TALL),
    "few columns": (lambda x: fnp.sum(fnp.exp(x), axis=0), np.resize(FLAT, (150_003, 4))),
    "normalised columns": (lambda x: (x - fnp.mean(x, axis=0)) / fnp.std(x, axis=0), TALL),
    "all axes and one": (lambda x: (fnp.sum(x), fnp.sum(x, axis=0), fnp.sum(x, axis=1)), TALL),
    "transposed": (lambda x: fnp.transpose(x) * 2 + 1, TALL),
    "running sums": (lambda x: (fnp.cumsum(x, axis=0), fnp.cumsum(x, axis=1)), TALL),
    "batch of products": (fnp.matmul, np.resize(WIDE, (80, 40, 60)), np.resize(TALL, (80, 60, 50))),
    "sort": (lambda x: fnp.sort(x, axis=1), WIDE),
    "gather": (lambda x, i: x[i] * 2, FLAT, GENERATOR.integers(0, FLAT.size, 500_000)),
    "scatter": (lambda x, i: fnp.zeros(1000).at[i].add(x), FLAT, GENERATOR.integers(0, 1000, FLAT.size)),
    "scan": (lambda x: lax.scan(lambda c, row: (fnp.tanh(c + row), fnp.sum(c)), x[0], x), np.resize(FLAT, (4, 150_000))),
    "random numbers": (lambda x: x + fg.random.normal(fg.random.key(0), x.shape), FLAT),
    "gradient of rows": (gradient(lambda x: fg.nn.softmax(x, axis=1) ** 2), TALL),
    "product of matrices": (fnp.matmul, WIDE, TALL),
    "product of bfloat16": (fnp.matmul, fnp.asarray(WIDE).astype("bfloat16"), fnp.asarray(TALL).astype("bfloat16")),
    "products in a network": (gradient(lambda x, w: fnp.tanh(x @ w + fnp.sum(w, axis=0)) ** 2), TALL, WIDE[:, :64].copy()),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_results_do_not_depend_on_the_number_of_threads(name):
    function, *args = PROGRAMS[name]
    f = fg.jit(function)
    results = []
    for threads in (1, 2, 5, 1):
        cpu.set_num_threads(threads)
        results.append([np.array(x) for x in fg.tree.leaves(f(*args))])
    for other in results[1:]:
        for x, y in zip(results[0], other, strict=True):
            assert x.tobytes() == y.tobytes()


def test_sums_are_right_with_every_number_of_threads():
    whole = np.arange(600_011.0)
    for threads in (1, 2, 3, 16):
        cpu.set_num_threads(threads)
        assert cpu.num_threads() == threads
        assert float(fg.jit(fnp.sum)(whole)) == whole.sum()


def test_several_python_threads_call_one_function():
    f = fg.jit(lambda x, k: (fnp.sin(x) * k, fnp.sum(x * k, axis=0), fnp.sum(x) * k, x @ fnp.transpose(x)[:, :20]))
    x = TALL[:4000]
    expected = {k: [np.array(y) for y in f(x, float(k))] for k in range(5)}
    wrong = []

    def work(k):
        for _ in range(15):
            found = f(x, float(k))
            if any(a.tobytes() != np.asarray(b).tobytes() for a, b in zip(expected[k], found, strict=True)):
                wrong.append(k)

    run_at_once([lambda k=k: work(k) for k in range(5)])
    assert not wrong


def test_several_python_threads_compile_at_once():
    wrong = []

    def work(k):
        for i in range(6):
            factor = 1.0 + 10 * k + i
            found = fg.jit(lambda x, a=factor, n=i + 2: fnp.sum(fnp.cos(x) * a + x ** n))(FLAT[:1000])
            expected = (np.cos(FLAT[:1000]) * factor + FLAT[:1000] ** (i + 2)).sum()
            if abs(float(found) - expected) > 1e-9 * abs(expected) + 1e-6:
                wrong.append((k, i))

    run_at_once([lambda k=k: work(k) for k in range(4)])
    assert not wrong


def run_at_once(functions):
    errors = []
    barrier = threading.Barrier(len(functions))

    def guarded(f):
        try:
            barrier.wait()
            f()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors


def test_the_number_of_threads_must_be_a_positive_integer():
    for bad in (0, -1, 1.5, "2", None, True):
        with pytest.raises(ValueError, match="the number of threads must be a positive integer"):
            cpu.set_num_threads(bad)


def python(code: str, **environment: str) -> str:
    """What a new process prints."""
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120,
                            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment})
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


SHOW = "from funcgrad.compiler import cpu; print(cpu.num_threads())"


def test_the_environment_sets_the_number_of_threads():
    assert python(SHOW, FUNCGRAD_NUM_THREADS="3") == "3"
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert python(SHOW, FUNCGRAD_NUM_THREADS="") == str(available)
    for bad in ("0", "many", "-2", "1.5"):
        with pytest.raises(AssertionError, match="the number of threads must be a positive integer"):
            python(SHOW, FUNCGRAD_NUM_THREADS=bad)


START = """
import os, numpy as np, funcgrad as fg, funcgrad.numpy as fnp
from funcgrad.compiler import cpu
f, x = fg.jit(lambda x: fnp.sum(fnp.sin(x) * 2)), np.arange(600_001.0)
small = fg.jit(lambda x: x + 1)
"""
CHILD = """
child = os.fork()
if child == 0:
    os._exit(0 if abs(float(f(x)) - (np.sin(x) * 2).sum()) < 1e-6 else 1)
found = float(f(x))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), abs(found - (np.sin(x) * 2).sum()) < 1e-6)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("layer", ["", "cpu._load_tbb = lambda: False\n"], ids=["the first layer", "without TBB"])
@pytest.mark.parametrize("before", ["", "small(np.ones(3))\n", "f(x)\n"], ids=["nothing", "a small call", "a parallel call"])
def test_a_forked_process_computes_too(layer, before):
    assert python(START + layer + before + CHILD) == "0 True"


def test_without_a_threading_layer():
    assert python(START + "cpu._extension = lambda name: None\nprint(abs(float(f(x)) - (np.sin(x) * 2).sum()) < 1e-6)") == "True"
