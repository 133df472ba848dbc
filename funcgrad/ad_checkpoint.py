"""The names of ``jax.ad_checkpoint``."""
from collections.abc import Callable
from typing import Any

from funcgrad.control.checkpoint import checkpoint
from funcgrad.control.checkpoint import checkpoint as remat
from funcgrad.control.policies import checkpoint_name, checkpoint_policies
from funcgrad.transforms.residuals import residuals

__all__ = ["checkpoint", "checkpoint_name", "checkpoint_policies", "print_saved_residuals", "remat"]


def print_saved_residuals(f: Callable, *args: Any, **kwargs: Any) -> None:
    """Prints a line for each array that the backward pass of ``f(*args, **kwargs)`` keeps; ``fg.residuals`` returns them.

    >>> import funcgrad.numpy as fnp
    >>> print_saved_residuals(checkpoint(lambda x: fnp.sin(x) * x), 2.0)
    float64[] from the argument x
    """
    for row in residuals(f)(*args, **kwargs):
        print(f"{row.aval} from {row.origin}")
