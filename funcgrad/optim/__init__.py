"""Optimisers: rules that turn gradients into changes of the parameters.

    optimizer = optim.adam(1e-3)
    state = optimizer.init(params)
    updates, state = optimizer.update(gradient, state, params)
    params = optim.apply_updates(params, updates)
"""
from funcgrad.optim.optimizers import (
    AdamState,
    GradientTransformation,
    SgdState,
    adam,
    apply_updates,
    momentum,
    sgd,
)

__all__ = ["AdamState", "GradientTransformation", "SgdState", "adam", "apply_updates", "momentum", "sgd"]
