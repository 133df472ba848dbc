"""What the models share: a training that reports as it goes, and can be taken up again.

In: the options of the command line and what ``training.fit`` gets. Out: its result.
"""
from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from funcgrad import training


def fitted(options: argparse.Namespace, loss: Callable, params: Any, data: training.Data, *, steps: int,
           **arguments: Any) -> training.Result:
    """``training.fit`` with about ten lines on the way, and a last one with the time taken."""
    started = time.perf_counter()

    def show(record: training.Record) -> None:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
        print(f"step {record.step:<6} {numbers}", flush=True)

    result = training.fit(loss, params, data, steps=steps, every=max(1, steps // 10), callbacks=[show], log=options.log,
                          checkpoints=options.checkpoints, resume=True, **arguments)
    print(f"trained     {steps} steps in {time.perf_counter() - started:.1f} s")
    return result
