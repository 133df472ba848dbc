"""Why a loss is not finite: the first layer and the line in which a NaN or an infinity arose.

In: the loss, and the steps before it went wrong. Out: a NonFiniteLossError that says what was found when they were done again.

    fit: the loss is not finite
      found:    nan in step 41, in epoch 2
      layer:    the first whose output is not finite is '2'
      cause:    log made a NaN, called at model.py:12 in loss
                  found:    log(-0.5) = nan at [3], in 1 of 64 elements of float32[64]
"""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from funcgrad import dtypes, nn, random, tree
from funcgrad.core.array import DeviceArray
from funcgrad.debug import nans
from funcgrad.debug.causes import OVERFLOW
from funcgrad.errors import message
from funcgrad.jit import disable_jit
from funcgrad.training.step import Loss, with_state
from funcgrad.transforms.derivatives import value_and_grad


class NonFiniteLossError(FloatingPointError):
    """A loss was NaN or infinite: ``value``, in a step and an epoch that are counted from 1."""

    def __init__(self, text: str, value: float, step: int, epoch: int):
        super().__init__(text)
        self.value, self.step, self.epoch = value, step, epoch


class Call(NamedTuple):
    """What the loss was called with; ``key`` is that of the run."""

    params: Any
    state: Any
    batch: Any
    key: Any
    count: int

    @property
    def arguments(self) -> tuple:
        return self.params, self.state, self.batch, None if self.key is None else random.fold_in(self.key, self.count)


def explain(loss: Loss, value: float, epoch: int, last: Call, before: Call | None) -> NonFiniteLossError:
    """The error for the loss of a call in an epoch, counted from 0. ``before`` is the call of the step before, whose update
    made the parameters.
    """
    lines, error = [], None
    objective = with_state(loss)
    spoiled, data = _spoiled(last.params), _spoiled(last.batch)
    if spoiled is not None:
        since = f"since the update of step {last.count}" if before else "from the beginning"
        lines.append(("params:", f"{spoiled!r} is not finite {since}"))
        if before:
            error = _replay(value_and_grad(objective, has_aux=True), before)
            if error is None:
                lines.append(("cause:", "the gradient of that step is finite, what the optimiser made of it is not"))
    elif data is not None:
        lines.append(("data:", f"{data or 'the batch'!r} is not finite"))
    else:
        layer = _first_layer(loss, last)
        if layer is not None:
            lines.append(("layer:", f"the first whose output is not finite is {layer!r}" if layer else
                          "the outputs of all layers are finite; it happens in the loss"))
        error = _replay(objective, last)
    if error is not None:
        first, *rest = str(error).splitlines()
        lines += [("cause:", first), *[("", line) for line in rest]]
    advised = "instead:" in str(error) and OVERFLOW not in str(error)
    if data is None and not advised and (error is None or isinstance(error, FloatingPointError)):
        lines.append(("instead:", "a lower learning rate or clipped gradients, where values grow from step to step"))
    step, epoch = last.count + 1, epoch + 1
    text = message("fit: the loss is not finite", f"{value} in step {step}, in epoch {epoch}")
    out = NonFiniteLossError("\n".join([text, *[f"  {label:<9} {line}" for label, line in lines]]), value, step, epoch)
    out.__cause__ = error
    return out


def _spoiled(arrays: Any) -> str | None:
    """The path of the first array that is not finite."""
    for path, leaf in tree.leaves_with_path(arrays):
        if not _finite(leaf):
            return tree.keystr(path, simple=True, separator=".")
    return None


def _replay(f: Any, call: Call) -> Exception | None:
    """What is raised when f is called again and each operation is looked at: first for NaN, then for infinities too.

    An error of another kind counts as well: labels that are not classes raise where their values are known.
    """
    for inf in (False, True):
        try:
            with nans(inf=inf):
                f(*call.arguments)
        except Exception as error:
            return error
    return None


class _Model:
    """The loss in the place of a layer, so that ``nn.capture`` sees the layers it runs."""

    def __init__(self, loss: Loss):
        self.loss = loss

    def apply(self, params: Any, state: Any, batch: Any, key: Any = None, train: bool = False) -> tuple:
        return self.loss(params, state, batch, key), state


def _first_layer(loss: Loss, call: Call) -> str | None:
    """The path of the first layer whose output is not finite, "" if there is none, None if that is not known.

    A layer that runs under ``vmap`` or inside of a loop has no output of its own. Inside of ``Repeat``, where outputs are those
    of all steps, the layer is the one that makes them of finite inputs.
    """
    params, state, batch, key = call.arguments
    try:
        with disable_jit(), np.errstate(all="ignore"):
            seen = nn.capture(_Model(loss), params, state, batch, key, inputs=True)[2]
    except Exception:  # what is wrong is said by the replay
        return None
    wrong = []
    for path, (_, y) in seen.items():
        leaves = tree.leaves(y)
        if not all([isinstance(x, DeviceArray) for x in leaves]):
            break
        if not all(map(_finite, leaves)):
            wrong.append(path)
    else:
        return next((path for path in wrong if _spoils(*seen[path])), wrong[0] if wrong else "") if seen else None
    return wrong[0] if wrong else None


def _spoils(x: Any, y: Any) -> bool:
    """Whether at some place along the first axis, of steps or of examples, x is finite and y is not."""
    before, after = _finite_rows(x), _finite_rows(y)
    if before.shape != after.shape:
        before, after = before.all(), after.all()
    return bool(np.any(before & ~after))


def _finite_rows(values: Any) -> np.ndarray:
    """Which rows of arrays are finite; one answer for all where they have different numbers of rows."""
    arrays = [np.asarray(leaf) for leaf in tree.leaves(values)]
    rows = [np.isfinite(a).all(tuple(range(1, a.ndim))) if dtypes.is_inexact(a.dtype) else np.ones(a.shape[:1], bool)
            for a in arrays]
    if len({row.shape for row in rows}) == 1:
        return np.logical_and.reduce(rows)
    return np.array([all([row.all() for row in rows])])


def _finite(x: Any) -> bool:
    data = np.asarray(x)
    return not dtypes.is_inexact(data.dtype) or bool(np.isfinite(data).all())
