"""Training on a GPU, on the stand-ins for CuPy and its driver: the same numbers as on the processor, launched as graphs."""
from __future__ import annotations

import re

import fake_cuda
import numpy as np
import pytest
from safetensors.numpy import load_file

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import nn, optim, training
from funcgrad.__main__ import main

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
Y = (X.sum(axis=1) > 0).astype(np.int64)


@pytest.fixture
def gpu(monkeypatch):
    return fake_cuda.install(monkeypatch)


def test_the_main_job(gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", x=X, y=Y)
    options = ["--data", "mine.npz", "--model", "5", "--epochs", "2", "--batch-size", "20"]
    assert main([*options, "--device", "cuda", "--save", "gpu"]) == 0
    assert gpu.captures and gpu.replays > gpu.captures
    on_gpu = capsys.readouterr().out
    assert main([*options, "--save", "cpu"]) == 0
    result = re.search("held out    accuracy.*", capsys.readouterr().out)
    assert result and result[0] in on_gpu
    found, wanted = load_file("gpu"), load_file("cpu")
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-7)


def test_fit_on_the_device_of_the_parameters(gpu, tmp_path):
    model = nn.Sequential(nn.Linear(4, 6), nn.gelu, nn.Dropout(0.2), nn.Linear(6, 2))

    def loss(params, state, batch, key):
        logits, state = model.apply(params, state, batch["x"], key, train=True)
        return nn.softmax_cross_entropy_with_integer_labels(logits, batch["y"], reduction="mean"), (state, {})

    def trained(device):
        with fg.default_device(device):
            params, state = model.init(fg.random.key(0))
            data = training.from_arrays({"x": X.astype(np.float32), "y": Y}).batch(20)
            return training.fit(loss, params, data, state=state, optimizer=optim.adamw(1e-2), epochs=2, key=fg.random.key(1),
                                checkpoints=tmp_path / device.replace(":", ""), progress=False)

    on_gpu, on_cpu = trained("cuda:0"), trained("cpu")
    assert {leaf.device for leaf in fg.tree.leaves(on_gpu.params)} == {"cuda:0"}
    for a, b in zip(fg.tree.leaves(on_gpu.params), fg.tree.leaves(on_cpu.params), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)
    assert [r["loss"] for r in on_gpu.history] == pytest.approx([r["loss"] for r in on_cpu.history], rel=1e-5)


def test_parameters_on_the_processor_are_not_copied_at_each_step(gpu):
    step = fg.jit(lambda params, x: fg.grad(lambda p: fnp.sum((x @ p["weight"]) ** 2))(params))
    params = {"weight": fnp.ones((4, 3))}
    with pytest.raises(fg.errors.DeviceError, match=r"params\['weight'\](.|\n)*device_put"):
        step(params, fg.device_put(X, "cuda"))
    found = step(fg.device_put(params, "cuda"), X)  # an ndarray goes where the others are
    np.testing.assert_allclose(np.asarray(found["weight"]), np.asarray(step(params, X)["weight"]), rtol=1e-12)
