"""Training: data in batches, the loop, and the program ``python -m funcgrad`` (data, classifier, files).

    data = training.from_arrays({"x": x, "y": y}).shuffle(key).batch(64)
    result = training.fit(loss, params, data, optimizer=optim.adam(1e-3), epochs=20, key=key)
"""
from funcgrad.training.checkpoints import Checkpoints
from funcgrad.training.loop import Best, EarlyStopping, Record, Result, fit
from funcgrad.training.nonfinite import NonFiniteLossError
from funcgrad.training.npy import open_npy
from funcgrad.training.pipeline import Data, Iteration, from_arrays, from_iterable
from funcgrad.training.step import evaluator, training_step
from funcgrad.training.storage import CheckpointError, load, read_info, save

__all__ = [
    "Best", "CheckpointError", "Checkpoints", "Data", "EarlyStopping", "Iteration", "NonFiniteLossError", "Record", "Result",
    "evaluator", "fit", "from_arrays", "from_iterable", "load", "open_npy", "read_info", "save", "training_step",
]
