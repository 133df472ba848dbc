"""Loops: recurrent networks, and scans whose state is a few numbers."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.workload import Program, Ratio, Workload
from benchmarks.workloads.elementwise import random_normal

# ---------------------------------------------------------------- recurrent networks


def rnn_cell(lib: Any, params: Any, h: Any, x: Any) -> tuple[Any, Any]:
    h = lib.np.tanh(x @ params["x"] + h @ params["h"] + params["bias"])
    return h, h


def lstm_cell(lib: Any, params: Any, state: Any, x: Any) -> tuple[Any, Any]:
    """Hochreiter and Schmidhuber (1997), with the forget gate of Gers, Schmidhuber and Cummins (2000)."""
    h, c = state
    i, f, g, o = lib.np.split(x @ params["x"] + h @ params["h"] + params["bias"], 4, axis=-1)
    c = lib.nn.sigmoid(f + 1) * c + lib.nn.sigmoid(i) * lib.np.tanh(g)
    h = lib.nn.sigmoid(o) * lib.np.tanh(c)
    return (h, c), h


def recurrent_gradient(lib: Any, cell: str, steps: int, hidden: int, batch: int) -> Program:
    gates, advance = {"rnn": (1, rnn_cell), "lstm": (4, lstm_cell)}[cell]

    def loss(params: Any, xs: Any) -> Any:
        zero = lib.np.zeros((batch, hidden), np.float32)
        _, hs = lib.lax.scan(lambda state, x: advance(lib, params, state, x), zero if gates == 1 else (zero, zero), xs)
        return lib.np.mean(hs * hs)

    scale = np.float32(0.5 * hidden ** -0.5)
    params = {"x": random_normal(hidden, gates * hidden) * scale, "h": random_normal(hidden, gates * hidden, seed=1) * scale,
              "bias": np.zeros(gates * hidden, np.float32)}
    return lib.jit(lib.grad(loss)), (lib.tree.map(lib.np.asarray, params),
                                     lib.np.asarray(random_normal(steps, batch, hidden, seed=2)))


def recurrent_torch(cell: str, steps: int, hidden: int, batch: int) -> Program:
    """The same cells in a Python loop."""
    import torch
    scale = np.float32(0.5 * hidden ** -0.5)
    gates = {"rnn": 1, "lstm": 4}[cell]
    weights = [torch.from_numpy(random_normal(hidden, gates * hidden, seed=i) * scale).requires_grad_() for i in range(2)]
    bias = torch.zeros(gates * hidden, requires_grad=True)

    def run(xs: Any) -> Any:
        h, c, hs = torch.zeros(batch, hidden), torch.zeros(batch, hidden), []
        for x in xs:
            z = x @ weights[0] + h @ weights[1] + bias
            if cell == "rnn":
                h = torch.tanh(z)
            else:
                i, f, g, o = torch.split(z, hidden, dim=-1)
                c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            hs.append(h)
        loss = torch.mean(torch.stack(hs) ** 2)
        return dict(zip(("x", "h", "bias"), torch.autograd.grad(loss, [*weights, bias])))

    return run, (torch.from_numpy(random_normal(steps, batch, hidden, seed=2)),)


# ---------------------------------------------------------------- a scan of one number


def scalar_scan_function(lib: Any, steps: int) -> Any:
    def run(rate: Any) -> Any:
        def step(x: Any, _: Any) -> tuple[Any, Any]:
            x = lib.np.sin(x * rate) + 0.5
            return x, x

        return lib.lax.scan(step, lib.np.zeros((), np.float32), None, length=steps)

    return run


def scalar_scan(lib: Any, steps: int) -> Program:
    return lib.jit(scalar_scan_function(lib, steps)), (lib.np.asarray(np.float32(0.8)),)


def scalar_scan_gradient(lib: Any, steps: int) -> Program:
    run = scalar_scan_function(lib, steps)
    return lib.jit(lib.grad(lambda rate: lib.np.mean(run(rate)[1] ** 2))), (lib.np.asarray(np.float32(0.8)),)


def scalar_scan_numba(steps: int) -> Program:
    import numba

    @numba.njit
    def run(rate: Any) -> Any:
        x, out = np.float32(0), np.empty(steps, np.float32)
        for i in range(steps):
            x = np.float32(math.sin(x * rate) + np.float32(0.5))
            out[i] = x
        return x, out

    def call(rate: Any) -> Any:
        x, out = run(rate)
        return np.float32(x), out  # Numba returns a Python float

    return call, (np.float32(0.8),)


# ---------------------------------------------------------------- Lorenz's system


def lorenz_function(lib: Any, steps: int) -> Any:
    """The classical Runge-Kutta method on the equations of Lorenz (1963)."""
    def slope(state: Any) -> Any:
        x, y, z = state
        return lib.np.stack([10.0 * (y - x), x * (28.0 - z) - y, x * y - (8 / 3) * z])

    def step(state: Any, _: Any) -> tuple[Any, None]:
        h = 1e-3
        k1 = slope(state)
        k2 = slope(state + h / 2 * k1)
        k3 = slope(state + h / 2 * k2)
        k4 = slope(state + h * k3)
        return state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    return lambda state: lib.lax.scan(step, state, None, length=steps)[0]


def lorenz(lib: Any, steps: int) -> Program:
    return lib.jit(lorenz_function(lib, steps)), (lib.np.asarray(np.ones(3, np.float32)),)


def lorenz_jacobian(lib: Any, steps: int) -> Program:
    return lib.jit(lib.jacfwd(lorenz_function(lib, steps))), (lib.np.asarray(np.ones(3, np.float32)),)


def lorenz_numba(steps: int) -> Program:
    import numba

    @numba.njit
    def slope(x: Any, y: Any, z: Any) -> Any:
        return np.float32(10) * (y - x), x * (np.float32(28) - z) - y, x * y - np.float32(8 / 3) * z

    @numba.njit
    def run(state: Any) -> Any:
        x, y, z = state
        h, half, sixth, two = np.float32(1e-3), np.float32(5e-4), np.float32(1e-3 / 6), np.float32(2)
        for _ in range(steps):
            a1, b1, c1 = slope(x, y, z)
            a2, b2, c2 = slope(x + half * a1, y + half * b1, z + half * c1)
            a3, b3, c3 = slope(x + half * a2, y + half * b2, z + half * c2)
            a4, b4, c4 = slope(x + h * a3, y + h * b3, z + h * c3)
            x += sixth * (a1 + two * a2 + two * a3 + a4)
            y += sixth * (b1 + two * b2 + two * b3 + b4)
            z += sixth * (c1 + two * c2 + two * c3 + c4)
        return np.array([x, y, z], np.float32)

    return run, (np.ones(3, np.float32),)


RECURRENT = {"steps": 1000, "hidden": 64, "batch": 32}
RECURRENT_TINY = {"steps": 3, "hidden": 2, "batch": 2}
WORKLOADS = [
    *[Workload(f"{cell.upper()} gradient, 1000 steps", recurrent_gradient, {"cell": cell, **RECURRENT},
               {"cell": cell, **RECURRENT_TINY}, Ratio(0.7), tolerance=1e-3, peers={"torch": recurrent_torch})
      for cell in ("rnn", "lstm")],
    Workload("scalar scan, 10,000 steps", scalar_scan, {"steps": 10_000}, {"steps": 5}, Ratio(1.0), tolerance=1e-4,
             peers={"numba": scalar_scan_numba}),
    Workload("scalar scan, its gradient", scalar_scan_gradient, {"steps": 10_000}, {"steps": 5}, Ratio(1.0), tolerance=1e-3),
    Workload("Lorenz by RK4, 5000 steps", lorenz, {"steps": 5000}, {"steps": 4}, Ratio(1.0), tolerance=1e-2,
             peers={"numba": lorenz_numba}),
    Workload("Lorenz by RK4, its forward Jacobian", lorenz_jacobian, {"steps": 5000}, {"steps": 4}, Ratio(1.0), tolerance=1e-2),
]
