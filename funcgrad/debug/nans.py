"""Where a NaN came from: the first operation that made a number that is not finite, the user's line, why, and the rewrite.

In: a function with arguments, ``explain_nan(f, *args)``, or a scope, ``with fg.debug.nans():``. Out: a report; from the scope a
FloatingPointError with its text.

    div made a NaN, called at model.py:12 in loss, in a program run at train.py:30 in main
      found:    div(0.0, 0.0) = nan at [2], in 1 of 3 elements of float64[3]
      line:     return x / fnp.sum(y)
      operands: float64[3] from 0.0 to 2.0, made by sub at model.py:11 in loss
                float64[3] from 0.0 to 1.0, an argument
      inside:   step 3 of 10 of scan at model.py:20 in run
      cause:    0/0
      instead:  0/0 is NaN, x/0 infinite: keep the divisor away from zero

Inside the scope a trace of its own takes the place of the bottom interpreter: it looks at every result, and replays a program
that gave a NaN equation by equation. ``explain_nan`` runs the whole function so, as plain Python. Outside nothing is looked at.
"""
from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import CudaArray, DeviceArray, aval_of, on_device
from funcgrad.core.device import CPU
from funcgrad.core.primitive import Kind, Primitive
from funcgrad.core.stage import as_value
from funcgrad.core.trace import EVAL, EvalTrace, current, current_trace
from funcgrad.debug.causes import diagnose, operands_at
from funcgrad.debug.provenance import Chain, Record, Recorder, Step, buffer_of, data_of, is_nan, not_finite
from funcgrad.errors import Source, Sourced, Turn, message, user_source
from funcgrad.jit import disable_jit, eager
from funcgrad.ops.callback import silent
from funcgrad.transforms.arguments import function_name, leaf_paths
from funcgrad.transforms.derivatives import quiet
from funcgrad.tree import keystr, tree_leaves, tree_leaves_with_path, tree_map

KEPT = 2.0 ** 29
"""Bytes of values that are not finite that are kept of a function run as plain Python."""
REMEMBERED = 4096
"""Values that are not finite whose origins a scope remembers."""

# ---------------------------------------------------------------- the scope


@contextmanager
def nans(on: bool = True, *, inf: bool = False) -> Iterator[None]:
    """Inside, an operation or a jitted program that makes a NaN raises FloatingPointError, which says where and from what.

    Args:
      on: False switches the checks off again, for a part of a checked program.
      inf: also look for infinities.

    Works for eager code, where every operation is looked at, and under every transformation. A compiled program whose
    result has a NaN is run again by the interpreter, step by step; a NaN that reaches no result raises nothing, nor does one
    that was in the arguments or is a constant of the program. Raises RuntimeError inside a function that is being transformed:
    the scope goes around the call of the transformed function.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> with fg.debug.nans():
    ...     fg.jit(lambda x: fnp.sum(fnp.log(x)))(fnp.array([1.0, -1.0]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FloatingPointError: log made a NaN, called at ...
    """
    if not isinstance(current_trace.get(), EvalTrace):
        raise RuntimeError(message("debug.nans was entered inside a transformed function", current_trace.get().what,
                                   "the outside of all transformations", "with fg.debug.nans(): fg.grad(f)(x)"))
    with current(_CheckingTrace(inf) if on else EVAL):
        yield


class _CheckingTrace(Recorder):
    """The bottom interpreter, which raises for each result that is bad. Programs are compiled, and replayed if theirs is."""

    def __init__(self, inf: bool):
        super().__init__()
        self.bad = not_finite if inf else is_nan
        self.replaying = False

    def control(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        if self.replaying:
            return super().control(primitive, args, params)
        if _is_python(primitive, args, params):
            with current(self):
                return tuple(primitive.impl(*args, **params))
        outs = EVAL.process(primitive, args, params)
        if any(not_finite(out).any() for out in outs):
            self.replaying = True
            try:
                with silent():
                    again = super().control(primitive, args, params)
            finally:
                self.replaying = False
            for out, replayed in zip(outs, again, strict=True):
                self.same(out, replayed)
            if any(self.bad(x).any() for x in outs) and not any(self.bad(x).any() for x in again):
                raise FloatingPointError(message(
                    f"debug.nans: the compiled program of {primitive.name} gave a NaN where the interpreter gives none",
                    "results that differ because sums are rounded in another order, or an error of the compiler",
                    "the interpreter's results up to rounding", "fg.disable_jit() shows the interpreter's results"))
            self.check(again)
        return outs

    def note(self, primitive: Primitive, args: tuple, params: dict, outs: tuple) -> None:
        super().note(primitive, args, params, outs)
        if len(self.makers) > REMEMBERED:  # a scope around a long training does not keep every mask of infinities
            for number in list(self.makers)[:REMEMBERED // 2]:
                del self.makers[number]
        if not self.replaying:
            self.check(outs)

    def check(self, outs: Sequence[Any]) -> None:
        """Raises for results that are bad, unless that came in from outside."""
        if any(self.bad(out).any() for out in outs):
            chain = self.chain(outs)
            assert chain is not None
            bad = [step for step in chain.steps if step.is_nan or self.bad is not_finite]
            if bad and not chain.nan_came_in:
                raise FloatingPointError(str(_report(chain, bad[0], self, {})))


def _is_python(primitive: Primitive, args: tuple, params: dict) -> bool:
    """Whether an operation calls a Python function rather than to run a program."""
    if callable(primitive.code):
        return False
    return primitive.inline is None or primitive.inline(*map(aval_of, args), **params) is None


# ---------------------------------------------------------------- the report


@dataclass(frozen=True, slots=True)
class NanReport(Sourced):
    """What ``explain_nan`` found. It is true if there is something to explain, and prints itself.

    ``kind``: "nan", "inf", "none" (all results are finite) or "unknown". ``operation``, ``file``, ``line``, ``text`` (the
    line itself), ``element``, ``operands`` (the values at that element) and ``within`` (steps and lanes, innermost first)
    tell of the first operation that gave a number that is not finite; ``role`` is empty in the function itself, else
    "derivative of sqrt" or "backward pass" of the line. ``argument`` is the path of an argument that it came in with.
    ``cause`` and ``rewrite`` are advice.
    """

    kind: str
    summary: str
    operation: str = ""
    source: Source | None = None
    element: tuple[int, ...] = ()
    operands: tuple = ()
    within: tuple[Turn, ...] = ()
    role: str = ""
    argument: str = ""
    cause: str = ""
    rewrite: str = ""
    rows: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return self.kind != "none"

    def __str__(self) -> str:
        return "\n".join([self.summary, *[f"  {label:<9} {text}".rstrip() for label, text in self.rows]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join([f'<tr><td style="text-align:left;vertical-align:top"><b>{html.escape(label)}</b></td>'
                        f'<td style="text-align:left"><code>{html.escape(text)}</code></td></tr>' for label, text in self.rows])
        return f"<div><p><b>{html.escape(self.summary)}</b></p><table>{rows}</table></div>"


def explain_nan(f: Callable, *args: Any, **kwargs: Any) -> NanReport:
    """Where the NaN, or else the infinity, in ``f(*args, **kwargs)`` came from: operation, line, operands, cause and rewrite.

    f may be any function, jitted or not, or the gradient of one: ``explain_nan(fg.grad(loss), params, batch)``. It is run once
    as plain Python (``fg.eager``) with every result looked at, so the report names the step of a loop and the lane of a
    ``vmap``; for a gradient it names the line of the function whose derivative went wrong. It never raises: what goes wrong
    is reported.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> report = fg.explain_nan(lambda x: fnp.sum(fnp.log(x)), fnp.array([1.0, 0.0]))
    >>> report.operation, report.element, report.cause
    ('log', (1,), 'log outside of its domain')
    >>> bool(fg.explain_nan(fnp.sin, 1.0))
    False
    """
    try:
        return _explain(f, args, kwargs)
    except Exception as error:  # the promise is to report, whatever happens
        return NanReport("unknown", f"explain_nan: {function_name(f)} could not be explained: {type(error).__name__}: {error}")


def _explain(f: Callable, args: tuple, kwargs: dict) -> NanReport:
    if not isinstance(current_trace.get(), EvalTrace):
        return NanReport("unknown", "explain_nan was called inside a transformed function, where values are not known; call it "
                                    "outside: fg.explain_nan(fg.grad(f), x)")
    args, kwargs = tree_map(_as_array, args), tree_map(_as_array, kwargs)
    recorder, results, raised = _recorded(f, args, kwargs, Recorder(KEPT), eager())
    if isinstance(raised, MemoryError):  # one example after the other takes too much: whole batches, without the lane
        recorder, results, raised = _recorded(f, args, kwargs, Recorder(), disable_jit())
    chain = recorder.chain([x for x in results.values() if isinstance(x, DeviceArray)])
    lost = raised is not None or any(not_finite(np.asarray(x)).any() for x in results.values())
    if chain is None and lost and recorder.first is not None:  # the function raised, or made Python numbers of arrays
        chain = recorder.chain([out for out in recorder.first.outs if not_finite(out).any()][:1])
    leaves = list(zip(tree_leaves((args, kwargs)), leaf_paths(f, args, kwargs), strict=True))
    if chain is None and lost and raised is None:  # Python numbers went through Python
        value, path = next(((x, path) for x, path in leaves if _is_inexact(x) and not_finite(np.asarray(x)).any()), (None, ""))
        chain = Chain(outside=value) if path else None
    if chain is not None:
        arguments = {id(buffer_of(x)): path for x, path in leaves}
        return _report(chain, chain.steps[0] if chain.steps else None, recorder, arguments, results)
    if raised is not None:
        return NanReport("unknown", f"{function_name(f)} raised {type(raised).__name__}: {raised}")
    return _finite(f, args, kwargs, recorder)


def _recorded(f: Callable, args: tuple, kwargs: dict, recorder: Recorder,
              mode: Any) -> tuple[Recorder, dict[str, Any], Exception | None]:
    """The function run under a recorder: its results that may be bad, or what it raised."""
    with current(recorder), mode, silent(), quiet():
        try:
            return recorder, _numbers(f(*args, **kwargs)), None
        except Exception as error:
            return recorder, {}, error


def _finite(f: Callable, args: tuple, kwargs: dict, recorder: Recorder) -> NanReport:
    """The report when plain Python found nothing."""
    with silent(), quiet():
        results = _numbers(f(*args, **kwargs))
    if any(not_finite(np.asarray(x)).any() for x in results.values()):
        return NanReport("unknown", f"{function_name(f)} gives numbers that are not finite when it is compiled, and none as "
                                    "plain Python: its sums are rounded in another order, near an overflow or a domain's edge")
    summary = f"all results of {function_name(f)} are finite"
    if recorder.first is None:
        return NanReport("none", summary)
    return NanReport("none", summary, rows=(
        ("note:", f"{_at(_first_step(recorder.first))}, reaches none of them; a derivative may meet it"),))


def _first_step(record: Record) -> Step:
    """The first element that is not finite among the results of an operation."""
    return next(Step(record, i, tuple(map(int, np.argwhere(np.asarray(not_finite(out)))[0])))
                for i, out in enumerate(record.outs) if not_finite(out).any())


def _report(chain: Chain, step: Step | None, recorder: Recorder, arguments: dict[int, str],
            results: dict[str, Any] | None = None) -> NanReport:
    """The report on a step of a chain: where it began, or where it became a NaN."""
    nan = chain.nan
    kind = "nan" if nan is not None or chain.nan_came_in else "inf"
    reaches = [("reaches:", text) for text in _reached(results or {}, kind)]
    came_in = chain.outside is not None and (step is None or chain.nan_came_in or not step.is_nan)
    argument = "" if chain.outside is None else _argument(chain, arguments)
    if came_in or step is None:
        what = "a NaN" if kind == "nan" else "an infinity"
        place = f" at {list(chain.element)}" if chain.element else ""
        source = step.record.source if step is not None else None
        rows = [("first in:", step.record.name), ("line:", source.text if source else "")] if step else []
        rows += [("inside:", str(turn)) for turn in (step.record.within if step else ())]
        place += f", first used at {source}" if source else ""
        first = recorder.first
        if not argument and first is not None and (step is None or first.number < step.record.number):
            rows.append(("before:", f"the first operation that made a number that is not finite was {_at(_first_step(first))}"))
        return NanReport(kind, f"{what} came in with {argument or 'a constant of the function'}{place}", source=source,
                         operation=step.record.name if step else "", element=chain.element, argument=argument,
                         within=step.record.within if step else (), cause=f"{what} in the arguments" if argument else
                         "a constant", rewrite="look at where that value was made", rows=_merged([*rows, *reaches]))
    record = step.record
    found = diagnose(chain.steps[0], nan, recorder)
    caller, source = user_source(), record.source
    head = f"{record.name} made {'a NaN' if step.is_nan else 'an infinity'}"
    if source is not None:
        head += f", called at {source}"
        if results is None and caller is not None and str(caller) != str(source):
            head += f", in a program run at {caller}"
    rows = [("found:", _found(step)), ("line:", source.text if source else "")]
    if record.role:
        rows.append(("part:", f"the {record.role}{' of' if record.role == 'backward pass' else ' on'} this line"))
    rows += [("operands:", _described(x, record) + _from_where(x, recorder, arguments)) for x in record.args]
    rows += [("layer:", " > ".join([part.name for part in record.path]))] if record.path else []
    rows += [("inside:", str(turn)) for turn in record.within]
    rows += [("because:", _at(s)) for s in chain.steps[:1] if s is not step]
    rows += [("then:", _at(nan))] if nan is not None and nan is not step and nan is not chain.steps[0] else []
    rows += [("and:", f"{argument} has an infinity at {list(chain.element)}")] if argument else []
    rows += [*reaches, ("cause:", found.cause), ("instead:", found.rewrite)]
    return NanReport(kind, head, record.name, source, step.element, tuple(operands_at(step)), record.within, record.role,
                     argument, found.cause, found.rewrite, _merged(rows))


def _merged(rows: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Rows with each label written once."""
    return tuple([(label if i == 0 or rows[i - 1][0] != label else "", text) for i, (label, text) in enumerate(rows) if text])


# ---------------------------------------------------------------- what is said


def _call(step: Step) -> str:
    """``div(0, 0) = nan``, with the operands where the result is bad."""
    name, call = step.record.name, step.record.name
    if step.record.primitive.kind is Kind.ELEMENTWISE:
        call = f"{name}({', '.join(map(_number, operands_at(step)))})"
    return f"{call} = {_number(step.value)}"


def _found(step: Step) -> str:
    out = step.record.outs[step.out]
    if not step.element:
        return _call(step)
    marks = np.asarray(is_nan(out) if step.is_nan else not_finite(out))
    return f"{_call(step)} at {list(step.element)}, in {marks.sum()} of {marks.size} elements of {aval_of(out)}"


def _at(step: Step) -> str:
    role = f" in the {step.record.role}" if step.record.role else ""
    turns = "".join([f", {turn}" for turn in step.record.within[:1]])
    return f"{_call(step)}{role}, at {step.record.source}{turns}"


def _described(x: Any, record: Record) -> str:
    """An operand: its type and range; if it is small, and not one of numbers taken one by one, its elements."""
    data = np.asarray(data_of(x))
    if data.ndim == 0:
        return f"{aval_of(x)} {_number(data[()])}"
    if data.size == 0 or dtypes.kind(data.dtype) not in "fiu":
        return str(aval_of(x))
    wide = data.astype(np.float64)
    known = wide[~np.isnan(wide)]
    text = f"{aval_of(x)} from {_number(known.min())} to {_number(known.max())}" if known.size else str(aval_of(x))
    text += f", {wide.size - known.size} NaN" if known.size < wide.size else ""
    small = data.size <= 9 and record.primitive.kind is not Kind.ELEMENTWISE
    return text + (f": {' '.join(np.array2string(data, precision=6).split())}" if small else "")


def _from_where(x: Any, recorder: Recorder, arguments: dict[int, str]) -> str:
    """Who made an operand."""
    if isinstance(x, np.generic):
        return ""
    known = recorder.origin(x)
    if known is not None:
        return f", made by {known[0]}{f' at {known[1]}' if known[1] else ''}"
    path = arguments.get(id(buffer_of(x)))
    return f", the argument {path}" if path else ", an argument or a constant"


def _argument(chain: Chain, arguments: dict[int, str]) -> str:
    """The path of the argument that a bad number came in with."""
    return arguments.get(id(buffer_of(chain.outside)), "")


def _reached(results: dict[str, Any], kind: str) -> list[str]:
    """The results that are bad, and where."""
    found = []
    for path, x in results.items():
        marks = np.asarray((is_nan if kind == "nan" else not_finite)(np.asarray(x)))
        if marks.any():
            first = list(map(int, np.argwhere(marks)[0]))
            found.append(f"the result{path}" + (f" at {first}, in {marks.sum()} of {marks.size} elements" if first else ""))
    return found[:4] + ([f"and {len(found) - 4} more"] if len(found) > 4 else [])


def _number(x: Any) -> str:
    return f"{x:.6g}" if dtypes.kind(x.dtype) in "fc" else str(x)


def _as_array(x: Any) -> Any:
    """An ndarray of numbers as the Array that the function would make of it, so that it is known again; all on the CPU."""
    if type(x) is CudaArray:
        return on_device(x, CPU)
    return as_value(x) if isinstance(x, np.ndarray) and dtypes.is_inexact(x.dtype) else x


def _numbers(result: Any) -> dict[str, Any]:
    """The leaves of a result that may be bad, by their paths."""
    return {keystr(path): x for path, x in tree_leaves_with_path(result) if _is_inexact(x)}


def _is_inexact(x: Any) -> bool:
    return isinstance(x, (float, complex)) or hasattr(x, "dtype") and dtypes.is_inexact(x.dtype)
