"""Optimisers and schedules against values stored from optax (tests/reference/make_optax.py), eager and compiled."""
import json
from pathlib import Path

import numpy as np
import optim_cases as cases
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import optim

STORED = json.loads((Path(__file__).parent / "reference" / "optax.json").read_text())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", cases.OPTIMIZERS)
def test_a_hundred_steps(name, dtype):
    found = cases.run(optim, fg.tree.map, cases.OPTIMIZERS[name](optim), dtype)
    for step, values in found.items():
        assert values.dtype == dtype
        np.testing.assert_allclose(values, STORED[np.dtype(dtype).name][name][step], rtol=0, atol=1e-6 if dtype == np.float32 else 2e-8)


@pytest.mark.parametrize("name", ["lamb", "adafactor", "partition", "MultiSteps", "inject_hyperparams"])
def test_a_hundred_compiled_steps(name):
    optimizer = cases.OPTIMIZERS[name](optim)
    found = cases.run(optim, fg.tree.map, optimizer, np.float64, fg.jit(optimizer.update))
    for step, values in found.items():
        np.testing.assert_allclose(values, STORED["float64"][name][step], rtol=0, atol=2e-8)


@pytest.mark.parametrize("name, jit", [*[(name, lambda f: f) for name in cases.LINE_SEARCHES], ("sgd backtracking", fg.jit)])
def test_line_searches(name, jit):
    found = cases.search(optim, fg.tree.map, fnp, fg.value_and_grad, cases.LINE_SEARCHES[name](optim), jit)
    for step, values in found.items():
        np.testing.assert_allclose(values, STORED["line searches"][name][step], rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", cases.SCHEDULES)
def test_schedules(name):
    schedule = cases.SCHEDULES[name](optim)
    np.testing.assert_allclose([schedule(step) for step in range(50)], STORED["schedules"][name], rtol=1e-12, atol=1e-15)
    counts = fnp.arange(50, dtype=np.int32)
    np.testing.assert_allclose(fg.vmap(lambda step: fnp.asarray(schedule(step)))(counts), STORED["schedules"][name], rtol=1e-12)
