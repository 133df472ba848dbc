"""The training loop.

In: a loss, parameters, data and an optimiser. Out: the trained parameters, and what was measured on the way.

    def loss(params, state, batch, key):
        logits, state = model.apply(params, state, batch["x"], key, train=True)
        value = nn.softmax_cross_entropy_with_integer_labels(logits, batch["y"], reduction="mean")
        return value, (state, {"accuracy": fnp.mean(fnp.argmax(logits, -1) == batch["y"])})

    result = fit(loss, params, data, state=state, optimizer=optim.adam(1e-3), epochs=20, key=key)

The loop is a function of its arguments: docs/training.md shows it written by hand.
"""
from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from funcgrad import optim, tree
from funcgrad.core.array import CudaArray
from funcgrad.devices import device_put
from funcgrad.errors import message
from funcgrad.training.checkpoints import Checkpoints
from funcgrad.training.checks import at_least
from funcgrad.training.nonfinite import Call, explain
from funcgrad.training.pipeline import Data
from funcgrad.training.step import Loss, Means, Step, scalars, training_step
from funcgrad.training.storage import CheckpointError, load, read_info

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None

HAS_BAR = tqdm is not None
"""Whether there is a bar to show."""


class EarlyStopping(NamedTuple):
    """Stop when ``metric`` has not become better by more than ``min_delta`` for ``patience`` records that have it."""

    metric: str = "eval_loss"
    patience: int = 5
    min_delta: float = 0.0
    mode: str = "min"


class Best(NamedTuple):
    """The parameters and state after the step in which the metric of ``early_stopping`` was best."""

    step: int
    value: float
    params: Any
    state: Any


@dataclass(frozen=True)
class Record:
    """What callbacks get: how many steps and epochs are done, and the means of the metrics since the last record."""

    step: int
    epoch: int
    seconds: float
    metrics: dict[str, float]
    params: Any = field(repr=False)
    state: Any = field(repr=False)

    def line(self) -> dict[str, float]:
        """The numbers, as in the log."""
        return {"step": self.step, "epoch": self.epoch, "seconds": round(self.seconds, 3), **self.metrics}


class Result(NamedTuple):
    """Where training ended; ``history`` holds a dict for each record, ``best`` is None without ``early_stopping``."""

    params: Any
    state: Any
    optimizer_state: Any
    step: int
    history: list[dict[str, float]]
    best: Best | None


@dataclass
class _Run:
    """What goes from step to step."""

    params: Any
    state: Any
    optimizer_state: Any
    key: Any
    step: int = 0
    epoch: int = 0
    item: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best: Best | None = None
    waited: int = 0
    stopped: bool = False


def fit(loss: Loss | Step, params: Any, data: Data, *, optimizer: optim.GradientTransformation | None = None,
        state: Any = None, key: Any = None, epochs: int | None = None, steps: int | None = None, every: int | None = None,
        evaluate: Callable[[Any, Any], dict[str, float]] | None = None, evaluate_every: int = 1,
        callbacks: Sequence[Callable[[Record], Any]] = (), log: str | os.PathLike | None = None,
        early_stopping: EarlyStopping | None = None, checkpoints: Checkpoints | str | os.PathLike | None = None,
        checkpoint_every: int = 1, resume: bool = False, progress: bool | None = None, stop_on_nonfinite: bool = True
        ) -> Result:
    """Takes a step of the optimiser for each batch of the data.

    Args:
      loss: ``loss(params, state, batch, key)`` returns the loss, or ``(loss, (state, metrics))`` with the layers' next state
        and a dict of scalars to be averaged; or a ``training_step``, which has its optimiser.
      params: a tree of arrays.
      data: of batches, as ``from_arrays(arrays).shuffle(key).batch(64)``.
      optimizer: such as ``optim.adam(1e-3)``.
      state: the layers' state, which the loss gets and returns; {} unless given.
      key: step i gets ``fold_in(key, i)``, where the parameters are; None if the loss draws no random numbers.
      epochs, steps: how many passes over the data, how many steps; with both, what is reached first.
      every: the number of steps between records; an epoch unless given. A last record is made at the end.
      evaluate: ``evaluate(params, state)`` returns a dict of numbers, recorded as "eval_...": see ``evaluator``.
      evaluate_every: the number of records from one evaluation to the next; the last record has one in any case.
      callbacks: functions of a ``Record``. One that returns True ends the training.
      log: a file of JSON lines, one for each record, written at once. What was in it is replaced by the run's history.
      early_stopping: ends the training when a metric does not improve; ``result.best`` has the best parameters.
      checkpoints: ``Checkpoints(folder, keep=3)``, or a folder. A checkpoint holds all that the run needs to go on.
      checkpoint_every: the number of records from one checkpoint to the next; there is one at the end in any case.
      resume: go on from the latest checkpoint in the folder, if there is one. The result is bit for bit that of a run that
        was not interrupted; the key is the one in the checkpoint.
      progress: whether to show a bar on stderr; by default if tqdm is installed and stderr is a terminal.
      stop_on_nonfinite: False goes on after a loss that is NaN or infinite, for an optimiser that skips such steps.

    Raises NonFiniteLossError for a loss that is NaN or infinite, with the first layer and the line where it arose, ValueError
    for data without batches and for a folder with checkpoints of a run that is not to be resumed, CheckpointError for those of
    another model, and TypeError for a loss that returns something else.
    """
    if epochs is None and steps is None:
        raise ValueError(message("fit: when to end is not known", "neither epochs nor steps", None, "fit(..., epochs=10)"))
    if not isinstance(data, Data):
        raise TypeError(message("fit: data is not a source of batches", type(data).__name__, "Data",
                                "from_arrays(arrays).shuffle(key).batch(64), or from_iterable(batches)"))
    for name, number, least in (("epochs", epochs, 0), ("steps", steps, 0), ("every", every, 1),
                                ("evaluate_every", evaluate_every, 1), ("checkpoint_every", checkpoint_every, 1)):
        if number is not None:
            at_least(f"fit: {name}", number, least)
    epochs, steps = (math.inf if n is None else n for n in (epochs, steps))
    if (optimizer is None) != isinstance(loss, Step):
        raise TypeError(message("fit: one optimiser is needed", f"{type(loss).__name__} and optimizer={optimizer}", None,
                                "fit(loss, ..., optimizer=optim.adam(1e-3)), or fit(training_step(loss, optimizer), ...)"))
    step = loss if optimizer is None else training_step(loss, optimizer)
    run = _Run(params, {} if state is None else state, step.optimizer.init(params), _beside(params, key))
    if checkpoints is not None:
        checkpoints = checkpoints if isinstance(checkpoints, Checkpoints) else Checkpoints(checkpoints)
        run = _begin(run, checkpoints, resume, data)
    if early_stopping is not None:
        _check_rule(early_stopping)
        run.stopped = run.waited >= early_stopping.patience
    means, last = Means(), None
    with _log_file(log, run.history) as write, _bar(progress, data, epochs, steps, run.step) as show:
        listeners = [write, *([_stopping(run, early_stopping, evaluate is not None)] if early_stopping else []), *callbacks]
        started = time.perf_counter() - run.seconds
        for batch, epoch, item in _batches(data, run, epochs) if run.step < steps and not run.stopped else ():
            if batch is not _END:
                before, last = last, (run.params, run.state, batch, run.key, run.step)
                run.params, run.state, run.optimizer_state, metrics = step.call(
                    run.params, run.state, run.optimizer_state, batch, run.key, run.step)
                value = metrics["loss"] = float(metrics["loss"])
                if stop_on_nonfinite and not math.isfinite(value):
                    raise explain(step.loss, value, run.epoch, Call(*last), before and Call(*before))
                means.add(metrics, batch)
                show(value)
                run.step += 1
            run.epoch, run.item = epoch, item
            over = run.step >= steps or epoch >= epochs
            if means.weight and (over or (item == 0 if every is None else run.step % every == 0)):
                metrics = means.take()
                if evaluate is not None and (over or (len(run.history) + 1) % evaluate_every == 0):
                    found = scalars("evaluate", evaluate(run.params, run.state))
                    metrics |= {f"eval_{name}": float(value) for name, value in found.items()}
                run.seconds = time.perf_counter() - started
                record = Record(run.step, epoch, run.seconds, metrics, run.params, run.state)
                run.history.append(record.line())
                run.stopped = any([listen(record) is True for listen in listeners])
                if checkpoints is not None and (over or run.stopped or len(run.history) % checkpoint_every == 0):
                    _save(run, checkpoints, early_stopping, data)
            if over or run.stopped:
                break
    return Result(run.params, run.state, run.optimizer_state, run.step, run.history, run.best)


def _batches(data: Data, run: _Run, epochs: float) -> Iterator[tuple[Any, int, int]]:
    """Each batch from where the run is, with the epoch and the item that come after it.

    Where the number of batches is not known, the end of an epoch comes by itself, with _END for a batch: none is read before
    its time, since a stream may write all of them into one buffer.
    """
    epoch, item, length = run.epoch, run.item, data.length()
    while epoch < epochs:
        first = item
        for batch in data.items(epoch, item):
            item += 1
            yield (batch, epoch, item) if item != length else (batch, epoch + 1, 0)
        if item == first == 0:
            raise ValueError(message("fit: the data holds no batches", f"nothing in epoch {epoch}", "at least one batch"))
        if item != length:
            yield _END, epoch + 1, 0
        epoch, item = epoch + 1, 0


def _beside(params: Any, key: Any) -> Any:
    """The key on the GPU where the parameters are, if they are on one."""
    places = {leaf.device for leaf in tree.leaves(params) if isinstance(leaf, CudaArray)}
    return device_put(key, places.pop()) if len(places) == 1 else key


def _begin(new: _Run, checkpoints: Checkpoints, resume: bool, data: Data) -> _Run:
    """The run in the latest checkpoint; the new one if there is none."""
    latest = checkpoints.latest()
    if latest is None:
        return new
    if not resume:
        raise ValueError(message("fit: the folder holds the checkpoints of a run", latest, "an empty folder, for a new run",
                                 "fit(..., resume=True) to go on with that run"))
    info = read_info(latest)
    if missing := [name for name in (*_NUMBERS, "best", "batches") if name not in info]:
        raise CheckpointError(message("fit: the checkpoint is not one of fit's", f"{latest} without {', '.join(missing)}",
                                      "the folder of a run of fit", "a folder of its own for each run"))
    if info["batches"] != data.length():
        raise CheckpointError(message("fit: the run had other data", f"{data.length()} batches in an epoch",
                                 f"{info['batches']}, as in {latest}"))
    best = info.pop("best")
    trees = load(latest, like=_trees(replace(new, best=best and Best(**best, params=new.params, state=new.state))))
    if best:
        best = Best(**best, **trees.pop("best"))
    return _Run(**trees, **{name: info[name] for name in _NUMBERS}, best=best)


def _save(run: _Run, checkpoints: Checkpoints, rule: EarlyStopping | None, data: Data) -> None:
    value = run.history[-1].get(rule.metric) if rule else None
    score = value if value is None or rule.mode == "min" else -value
    best = run.best and {"step": run.best.step, "value": run.best.value}
    numbers = {name: getattr(run, name) for name in _NUMBERS}
    checkpoints.save(run.step, _trees(run), score, {**numbers, "best": best, "batches": data.length()})


_NUMBERS = ("step", "epoch", "item", "seconds", "history", "waited")


def _trees(run: _Run) -> dict[str, Any]:
    """The part of a run that holds arrays."""
    trees = {"params": run.params, "state": run.state, "optimizer_state": run.optimizer_state, "key": run.key}
    return trees if run.best is None else {**trees, "best": {"params": run.best.params, "state": run.best.state}}


def _check_rule(rule: EarlyStopping) -> None:
    if not isinstance(rule, EarlyStopping):
        raise TypeError(message("fit: early_stopping is no rule", repr(rule), "EarlyStopping",
                                'early_stopping=EarlyStopping("eval_loss", patience=5)'))
    at_least("EarlyStopping: patience", rule.patience, 1)
    if rule.mode not in ("min", "max"):
        raise ValueError(message("EarlyStopping: there is no such mode", repr(rule.mode), "'min' or 'max'"))


def _stopping(run: _Run, rule: EarlyStopping, evaluated: bool) -> Callable[[Record], bool]:
    """Keeps the best parameters; tells when to stop."""

    def compare(record: Record) -> bool:
        if rule.metric not in record.metrics:
            if evaluated and not any([name.startswith("eval_") for name in record.metrics]):
                return False  # not every record has an evaluation
            raise ValueError(message("fit: the metric of early_stopping is not measured", repr(rule.metric),
                                     f"one of {', '.join(map(repr, record.metrics))}",
                                     None if evaluated else "fit(..., evaluate=evaluator(metrics, held_out))"))
        value = record.metrics[rule.metric]
        sign = 1 if rule.mode == "min" else -1
        if sign * value < (math.inf if run.best is None else sign * run.best.value - rule.min_delta):  # never for NaN
            run.best, run.waited = Best(record.step, value, record.params, record.state), 0
        else:
            run.waited += 1
        return run.waited >= rule.patience

    return compare


@contextmanager
def _log_file(path: str | os.PathLike | None, history: list[dict]) -> Iterator[Callable[[Record], None]]:
    """A function that writes a line for a record. The file begins with the lines of the history."""
    if path is None:
        yield lambda record: None
        return
    with open(path, "w", encoding="utf-8") as file:
        def write(*lines: dict) -> None:
            file.writelines([json.dumps(line) + "\n" for line in lines])
            file.flush()

        write(*history)
        yield lambda record: write(record.line())


@contextmanager
def _bar(progress: bool | None, data: Data, epochs: float, steps: float, done: int) -> Iterator[Callable[[float], None]]:
    """A function that moves the bar by a step and shows the loss."""
    if not HAS_BAR or not (sys.stderr.isatty() if progress is None else progress):
        yield lambda loss: None
        return
    length = data.length()
    total = min(steps, math.inf if length is None else length * epochs)
    with tqdm(total=None if total == math.inf else total, initial=done, desc="training", unit=" steps", leave=False) as bar:
        def show(loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            bar.update()

        yield show


_END = object()
