"""Programs on one GPU, and what they shall reach there: parts of its bandwidth, and the times of JAX and PyTorch.

``copy`` stands for a copy of as many bytes as the program has to read and to write, half of each.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workload import AtMost, Both, Program, Ratio, RatioToBest, Workload
from benchmarks.workloads import elementwise, networks, networks_torch, rows
from benchmarks.workloads.elementwise import random_normal


def copy(elements: int) -> Program:
    """Copies so many float32."""
    import cupy
    source, target = cupy.ones(max(elements, 1), np.float32), cupy.empty(max(elements, 1), np.float32)
    return cupy.copyto, (target, source)


def product(lib: Any, n: int) -> Program:
    """A matrix product of bfloat16."""
    def run(x: Any, y: Any) -> Any:
        return lib.np.asarray(x @ y, np.float32)

    bfloat16 = lib.np.bfloat16
    return lib.jit(run), tuple([lib.np.asarray(random_normal(n, n, seed=i)).astype(bfloat16) for i in range(2)])


def product_torch(n: int) -> Program:
    import torch

    def run(x: Any, y: Any) -> Any:
        return (x @ y).float()

    return run, tuple([torch.as_tensor(random_normal(n, n, seed=i)).bfloat16() for i in range(2)])


def narrow(lib: Any, params: Any) -> Any:
    """Parameters as bfloat16."""
    return lib.tree.map(lambda p: p.astype(lib.np.bfloat16), params)


def transformer_step(lib: Any, blocks: int, width: int, heads: int, length: int, batch: int, vocabulary: int) -> Program:
    """Predicts the next token with Adam: parameters in float32, computed with in bfloat16."""
    def loss(params: Any, tokens: Any, following: Any) -> Any:
        logits = networks.transformer(lib, narrow(lib, params), tokens, heads).astype(np.float32)
        return rows.cross_entropy(lib, lib.np.reshape(logits, (-1, vocabulary)), lib.np.reshape(following, (-1,)))

    arrays = networks.transformer_arrays(blocks, width, length, vocabulary)
    params = lib.tree.map(lib.np.asarray, arrays)
    text = rows.labels_of(batch * (length + 1), vocabulary).reshape(batch, length + 1)
    data = lib.np.asarray(text[:, :-1]), lib.np.asarray(text[:, 1:])
    return networks.adam_step(lib, loss), (params, networks.adam_state(lib, params), *data)


def transformer_torch(blocks: int, width: int, heads: int, length: int, batch: int, vocabulary: int) -> Program:
    import torch
    text = rows.labels_of(batch * (length + 1), vocabulary).reshape(batch, length + 1)
    step, args = networks_torch.transformer_step(networks.transformer_arrays(blocks, width, length, vocabulary), text, heads)

    def narrowed(*batch: Any) -> Any:
        with torch.autocast(torch.get_default_device().type, torch.bfloat16):
            return step(*batch)

    return narrowed, args


def scans(lib: Any, lanes: int, steps: int) -> Program:
    """A logistic map in each lane."""
    def run(rate: Any) -> Any:
        return lib.lax.scan(lambda x, _: (rate * x * (1 - x), None), 0.4, None, length=steps)[0]

    return lib.jit(lib.vmap(run)), (lib.np.asarray(np.linspace(0.5, 3.0, lanes, dtype=np.float32)),)


WORKLOADS = [
    Workload("gpu: dispatch of x*sin(x)", elementwise.dispatch, {}, {}, AtMost(15)),
    Workload("gpu: gradient of an expression, n = 1e8", elementwise.gradient, {"n": 10**8}, {"n": 100},
             Ratio(1 / 0.8, "copy"), peers={"torch": elementwise.gradient_torch, "torch_compiled": elementwise.gradient_torch,
                                            "copy": lambda n: copy(n)}),
    Workload("gpu: softmax cross-entropy gradient 8192 x 4096", rows.cross_entropy_gradient, {"rows": 8192, "classes": 4096},
             {"rows": 3, "classes": 5}, Both(Ratio(1 / 0.7, "copy"), Ratio(1.0)), tolerance=1e-4,
             peers={"torch": rows.cross_entropy_torch, "torch_compiled": rows.cross_entropy_torch,
                    "copy": lambda rows, classes: copy(rows * classes)}),
    Workload("gpu: layer norm gradient 8192 x 4096", rows.layer_norm_gradient, {"rows": 8192, "columns": 4096},
             {"rows": 3, "columns": 5}, Both(Ratio(1 / 0.7, "copy"), Ratio(1.0)), tolerance=1e-3,
             peers={"torch": rows.layer_norm_torch, "torch_compiled": rows.layer_norm_torch,
                    "copy": lambda rows, columns: copy(3 * rows * columns // 2)}),
    Workload("gpu: matrix product of bfloat16, 8192", product, {"n": 8192}, {"n": 8}, RatioToBest(1.05, ("jax", "torch")),
             tolerance=0.05, peers={"torch": product_torch}),
    Workload("gpu: MLP 2-16-16-1 step, batch 32", networks.mlp_step, {"sizes": (2, 16, 16, 1), "batch": 32},
             {"sizes": (2, 3, 1), "batch": 4}, Ratio(0.7), tolerance=1e-3,
             peers={"torch": networks.mlp_torch, "torch_compiled": networks.mlp_torch}),
    Workload("gpu: MLP 1024x4 step, batch 256", networks.mlp_step, {"sizes": (1024,) * 5, "batch": 256},
             {"sizes": (6,) * 5, "batch": 3}, Ratio(1.0), tolerance=1e-2,
             peers={"torch": networks.mlp_torch, "torch_compiled": networks.mlp_torch}),
    Workload("gpu: transformer step, 12 blocks, d 768, 12 heads, bfloat16", transformer_step,
             {"blocks": 12, "width": 768, "heads": 12, "length": 512, "batch": 16, "vocabulary": 32_000},
             {"blocks": 1, "width": 8, "heads": 2, "length": 4, "batch": 2, "vocabulary": 11},
             RatioToBest(1.2, ("jax", "torch_compiled")), tolerance=0.3,
             peers={"torch": transformer_torch, "torch_compiled": transformer_torch}),
    Workload("gpu: vmap of a scan, 1e5 lanes, 1e3 steps", scans, {"lanes": 10**5, "steps": 10**3}, {"lanes": 4, "steps": 3},
             Ratio(0.3), tolerance=1e-3),
]
