"""Programs of users on a GPU, on the stand-ins for CuPy and its driver: what they make is on the GPU, and equal to the CPU's."""
from __future__ import annotations

import fake_cuda
import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax, nn, optim, training

RNG = np.random.default_rng(0)
X, V = RNG.random((3, 4)), RNG.random(4)


@pytest.fixture
def gpu(monkeypatch):
    return fake_cuda.install(monkeypatch)


def put(tree):
    return fg.device_put(tree, "cuda:0")


def devices(tree):
    return {str(leaf.device) for leaf in fg.tree.leaves(tree)}


def on_gpu_as_on_cpu(f, *args):
    found, wanted = fg.tree.leaves(f(*put(args))), fg.tree.leaves(f(*fg.tree.map(fnp.asarray, args)))
    assert devices(found) == {"cuda:0"}
    for x, want in zip(found, wanted, strict=True):
        assert x.dtype == want.dtype
        np.testing.assert_allclose(np.asarray(x), np.asarray(want), rtol=1e-12)


# Derivatives that are constant or zero: no argument brings them to the GPU.
CONSTANT = {
    "grad of a sum": (fg.grad(fnp.sum), X),
    "grad that is zero": (fg.grad(lambda x: 3.0), X),
    "one of two gradients": (fg.grad(lambda x, y: fnp.sum(y), argnums=(0, 1)), X, V),
    "grad by parts": (fg.grad(lambda p: fnp.sum(p["a"]) + fnp.sum(p["b"] ** 2)), {"a": X, "b": V, "unused": V}),
    "grad of a checkpoint": (fg.grad(fg.checkpoint(lambda x: fnp.sum(x[0]))), X),
    "jvp": (lambda x: fg.jvp(fnp.floor, (x,), (x,)), X),
    "linearize": (lambda x: fg.linearize(fnp.floor, x)[1](x), X),
    "jacfwd": (fg.jacfwd(lambda x: (fnp.floor(x), x[::-1])), V),
    "jacrev": (fg.jacrev(lambda x: x[::-1]), V),
    "hessian of a linear function": (fg.hessian(fnp.sum), V),
    "hessian by parts": (fg.hessian(lambda p: fnp.sum(p["a"]) + fnp.sum(p["b"] ** 2)), {"a": V, "b": V}),
    "grad of a grad": (fg.grad(lambda x: fnp.sum(fg.grad(fnp.sum)(x) * 2.0)), X),
    "vmap of grad": (fg.vmap(fg.grad(fnp.sum)), X),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_derivatives_are_where_their_arguments_are(gpu, name):
    on_gpu_as_on_cpu(*CONSTANT[name])


def test_what_vmap_makes_is_on_the_default_device(gpu):
    model = nn.Repeat(nn.Linear(4, 4), 3)
    with fg.default_device("cuda"):
        keys = fg.random.split(fg.random.key(0), 3)
        assert devices(fg.vmap(lambda k: (fnp.zeros(3), fnp.ones(2, np.int32), fnp.full(2, 0.5)))(keys)) == {"cuda:0"}
        params, state = model.init(fg.random.key(0))
        assert devices(params) == {"cuda:0"}
    found = fg.jit(model.apply)(params, state, put(X.astype(np.float32)))[0]
    wanted = model.apply(*model.init(fg.random.key(0)), X.astype(np.float32))[0]
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-5)


@pytest.mark.parametrize("name, optimizer", [
    ("adafactor", optim.adafactor(0.1, min_dim_size_to_factor=2)),
    ("lbfgs", optim.scale_by_lbfgs(3)),
    ("noisy_sgd", optim.noisy_sgd(0.1, key=0)),
])
def test_states_of_optimizers_are_where_the_parameters_are(gpu, name, optimizer):
    params = {"w": X, "b": V}

    def step(params, state):
        updates, state = optimizer.update(params, state, params)
        return optim.apply_updates(params, updates), state

    def trained(params):
        state = optimizer.init(params)
        for _ in range(2):
            params, state = fg.jit(step)(params, state)
        return params

    on_gpu_as_on_cpu(trained, params)


NAN = {
    "eager": lambda x: fnp.log(x - 2.0),
    "compiled": fg.jit(lambda x: fnp.sum(fnp.log(x - 2.0))),
    "derivative": fg.grad(lambda x: fnp.sum(fnp.sqrt(x - x[0]) * 0.0)),
    "loop": lambda x: lax.scan(lambda c, y: (fnp.sqrt(c - y), c), x[0], x)[0],
}


@pytest.mark.parametrize("name", NAN)
def test_nans_are_found(gpu, name):
    def report(x):
        with fg.debug.nans(), pytest.raises(FloatingPointError) as raised:
            NAN[name](x)
        return str(raised.value), str(fg.explain_nan(NAN[name], x))

    assert report(put(V)) == report(fnp.asarray(V))


def test_a_run_goes_on_where_its_parameters_are(gpu, tmp_path):
    def loss(params, state, batch, key):
        noise = fg.random.normal(key, (), np.float64)
        return fnp.mean((batch["x"] @ params["w"] - noise) ** 2), (state, {})

    def trained(epochs, device, folder):
        data = training.from_arrays({"x": X}).batch(2)
        return training.fit(loss, fg.device_put({"w": V}, device), data, optimizer=optim.adam(0.1), epochs=epochs,
                            key=fg.random.key(1), checkpoints=folder, resume=True, progress=False)

    trained(1, "cpu", tmp_path / "a")
    found, wanted = trained(2, "cuda:0", tmp_path / "a"), trained(2, "cpu", tmp_path / "b")
    assert devices((found.params, found.optimizer_state)) == {"cuda:0"}
    np.testing.assert_allclose(np.asarray(found.params["w"]), np.asarray(wanted.params["w"]), rtol=1e-12)


def test_an_argument_elsewhere_is_named_among_many(gpu):
    params = put({f"w{i}": V for i in range(9)})
    with pytest.raises(fg.errors.DeviceError) as raised:
        fg.jit(lambda params, state, x: x)(params, {"mean": fnp.asarray(V)}, X)
    assert "params['w0'], float64[4], is on cuda:0, as 8 more are; state['mean'], float64[4], is on cpu\n" in str(raised.value)
    assert "fg.device_put(state, 'cuda:0') before the call" in str(raised.value)
