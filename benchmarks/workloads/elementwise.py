"""Elementwise programs: what one call costs, and what fusion gains."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.workload import Program, Ratio, Workload


def random_normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


# ---------------------------------------------------------------- dispatch


def dispatch(lib: Any) -> Program:
    """One multiplication and one sine of one number: the time is the call's."""
    return lib.jit(lambda x: x * lib.np.sin(x)), (lib.np.asarray(np.float32(0.7)),)


def dispatch_leaves(lib: Any, leaves: int) -> Program:
    tree = {f"leaf{i}": lib.np.asarray(np.float32(0.1 * i)) for i in range(leaves)}
    return lib.jit(lambda tree: lib.tree.map(lambda x: x * lib.np.sin(x), tree)), (tree,)


# ---------------------------------------------------------------- one long expression


def gradient(lib: Any, n: int) -> Program:
    def f(x: Any) -> Any:
        return lib.np.sum(lib.np.tanh(x) * lib.np.exp(-x * x) + lib.np.log1p(x * x))

    return lib.jit(lib.grad(f)), (lib.np.asarray(random_normal(n)),)


def gradient_torch(n: int) -> Program:
    import torch

    def run(x: Any) -> Any:
        x = x.requires_grad_()
        return torch.autograd.grad(torch.sum(torch.tanh(x) * torch.exp(-x * x) + torch.log1p(x * x)), x)[0]

    return run, (torch.from_numpy(random_normal(n)),)


def gradient_numpy(n: int) -> Program:
    def run(x: np.ndarray) -> np.ndarray:
        square, t = x * x, np.tanh(x)
        return np.exp(-square) * (1 - t * t - 2 * x * t) + 2 * x / (1 + square)

    return run, (random_normal(n),)


def gradient_numba(n: int) -> Program:
    import numba

    @numba.njit(parallel=True, error_model="numpy")
    def run(x: np.ndarray) -> np.ndarray:
        out, one, two = np.empty_like(x), np.float32(1), np.float32(2)  # an int or a float would widen to float64
        for i in numba.prange(x.size):
            value, square = x[i], x[i] * x[i]
            t = np.tanh(value)
            out[i] = np.exp(-square) * (one - t * t - two * value * t) + two * value / (one + square)
        return out

    return run, (random_normal(n),)


# ---------------------------------------------------------------- Black-Scholes


def options(n: int) -> tuple[np.ndarray, ...]:
    """Prices of the share, strikes, times to maturity, interest rates and volatilities of so many call options."""
    rng = np.random.default_rng(0)
    bounds = ((80, 120), (80, 120), (0.2, 2), (0.01, 0.05), (0.1, 0.5))
    return tuple(rng.uniform(low, high, n).astype(np.float32) for low, high in bounds)


def call_price(np_like: Any, erfc: Any, spot: Any, strike: Any, time: Any, rate: Any, volatility: Any) -> Any:
    """Black and Scholes (1973), equation 13."""
    deviation = volatility * np_like.sqrt(time)
    d1 = np_like.log(spot / strike) / deviation + (rate / volatility + 0.5 * volatility) * np_like.sqrt(time)

    def normal(d: Any) -> Any:
        return 0.5 * erfc(-d * math.sqrt(0.5))

    return spot * normal(d1) - strike * np_like.exp(-rate * time) * normal(d1 - deviation)


def black_scholes(lib: Any, n: int) -> Program:
    """Value, delta, theta, rho, vega, and gamma as the forward derivative of delta."""
    def price(*market: Any) -> Any:
        return call_price(lib.np, lib.lax.erfc, *market)

    def value_and_greeks(spot: Any, *rest: Any) -> Any:
        greeks = lib.grad(lambda *market: lib.np.sum(price(*market)), argnums=(0, 2, 3, 4))
        first, second = lib.jvp(lambda s: greeks(s, *rest), (spot,), (lib.np.ones_like(spot),))
        return price(spot, *rest), first, second[0]

    return lib.jit(value_and_greeks), tuple(map(lib.np.asarray, options(n)))


def black_scholes_torch(n: int) -> Program:
    import torch

    def run(*market: Any) -> Any:
        spot, strike, *rest = market
        wanted = [x.requires_grad_() for x in (spot, *rest)]
        value = call_price(torch, torch.erfc, spot, strike, *rest)
        first = torch.autograd.grad(value.sum(), wanted, create_graph=True)
        return value, first, torch.autograd.grad(first[0].sum(), spot)[0]

    return run, tuple(map(torch.from_numpy, options(n)))


def black_scholes_numba(n: int) -> Program:
    """The closed forms of the greeks, as one would write them by hand."""
    import numba

    @numba.njit(parallel=True, error_model="numpy")
    def run(spot, strike, time, rate, volatility):
        out = np.empty((6, spot.size), np.float32)
        for i in numba.prange(spot.size):
            s, k, t, r, v = spot[i], strike[i], time[i], rate[i], volatility[i]
            root = math.sqrt(t)
            d1 = math.log(s / k) / (v * root) + (r / v + 0.5 * v) * root
            d2 = d1 - v * root
            first, second = 0.5 * math.erfc(-d1 * math.sqrt(0.5)), 0.5 * math.erfc(-d2 * math.sqrt(0.5))
            density, discounted = math.exp(-0.5 * d1 * d1) / math.sqrt(2 * math.pi), k * math.exp(-r * t)
            out[0, i], out[1, i] = s * first - discounted * second, first
            out[2, i] = 0.5 * s * density * v / root + r * discounted * second
            out[3, i], out[4, i] = t * discounted * second, s * density * root
            out[5, i] = density / (s * v * root)
        return out[0], (out[1], out[2], out[3], out[4]), out[5]

    return run, options(n)


GRADIENT_PEERS = {"torch": gradient_torch, "numpy": gradient_numpy, "numba": gradient_numba}
WORKLOADS = [
    Workload("dispatch of x*sin(x)", dispatch, target=Ratio(0.4), also=("numpy",)),
    Workload("dispatch, 20 leaves", dispatch_leaves, {"leaves": 20}, target=Ratio(0.7)),
    *[Workload(f"gradient of an expression, n = {label}", gradient, {"n": n}, {"n": tiny}, Ratio(0.5), tolerance=1e-4,
               also=("autograd",), peers=GRADIENT_PEERS)
      for label, n, tiny in (("1e3", 1000, 10), ("1e5", 100_000, 17), ("1e7", 10_000_000, 33))],
    Workload("Black-Scholes and greeks, 1e6", black_scholes, {"n": 1_000_000}, {"n": 50}, Ratio(0.5), tolerance=1e-3,
             peers={"torch": black_scholes_torch, "numba": black_scholes_numba}),
]
