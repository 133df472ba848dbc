"""Provenance: a trace that remembers which operation made each number that is not finite, and the way back from a result.

In: a function called under a ``Recorder``. Out: a ``Chain`` from a NaN or an infinity in a result back to where it began: an
operation on finite numbers, an argument, or a constant.

    y = log(x - x)    ->    log(0) = -inf  <-  nothing: its operand is finite

Whether an operand is to blame is found by experiment: the operation is done again with the operand's bad numbers replaced.
So it is known through every operation which element of which operand a NaN came from, also through a matrix product or a sort.
"""
from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import CudaArray, DeviceArray, aval_of, on_device
from funcgrad.core.device import CPU
from funcgrad.core.jaxpr import Named, current_path
from funcgrad.core.primitive import Kind, Primitive
from funcgrad.core.stage import eval_jaxpr
from funcgrad.core.structure import Choice, Loop, While
from funcgrad.core.trace import EVAL, EvalTrace, current
from funcgrad.errors import Source, Turn, equation_source, is_library_frame, within
from funcgrad.lax import concatenate, expand_dims, index_in_dim
from funcgrad.ops.structural import select_n_p
from funcgrad.transforms.jvp import apply_jvp
from funcgrad.transforms.linearize import LinearizeTrace, Tape
from funcgrad.transforms.transpose import backward

HARMLESS = 0.5
"""What takes the place of a bad number in an experiment: inside the domain of nearly every function."""
FOLLOWED = 4
"""Elements of one operand that are followed, where several together make one bad number."""

Element = tuple[int, ...]


@dataclass(eq=False, slots=True)
class Record:
    """An operation whose results are not all finite."""

    number: int
    primitive: Primitive
    params: dict[str, Any]
    args: tuple
    outs: tuple
    source: Source | None
    within: tuple[Turn, ...]
    role: str
    """"" in the function itself; "derivative of sqrt" in a rule; "backward pass"."""
    path: tuple[Named, ...]
    """The layers of a model, and other named parts, that it was done in."""

    @property
    def name(self) -> str:
        return self.primitive.name


@dataclass(frozen=True, slots=True)
class Step:
    """An element of a result of an operation, which is not finite."""

    record: Record
    out: int
    element: Element

    @property
    def value(self) -> Any:
        return np.asarray(data_of(self.record.outs[self.out]))[self.element]

    @property
    def is_nan(self) -> bool:
        return bool(np.isnan(self.value))


@dataclass(slots=True)
class Chain:
    """The way of a bad number: ``steps`` from the operation that began it to the result, and what came in from outside."""

    steps: list[Step] = field(default_factory=list)
    outside: Any = None
    """The value from outside that it began with, if no operation on finite numbers did."""
    element: Element = ()

    @property
    def nan_came_in(self) -> bool:
        """Whether it was a NaN from the outset."""
        return self.outside is not None and bool(np.isnan(np.asarray(data_of(self.outside))[self.element]))

    @property
    def nan(self) -> Step | None:
        """Where the number first was a NaN."""
        return next((step for step in self.steps if step.is_nan), None)


class Recorder(EvalTrace):
    """The bottom interpreter, which looks at each result. Programs are run equation by equation, and loops step by step."""

    def __init__(self, limit: float = np.inf) -> None:
        super().__init__()
        self.limit = limit
        """Bytes of values that are not finite, beyond which MemoryError is raised."""
        self.count = 0
        self.makers: dict[int, tuple[Record, int, Any]] = {}
        """By the id of the buffer of a bad value: which result of which operation it is, and the buffer, so that it lives."""
        self.origins: dict[int, tuple[weakref.ref, str, Source | None, tuple[str, ...]]] = {}
        self.met: set[str] = set()
        """The operations done so far."""
        self.unselected: dict[int, tuple[weakref.ref, np.ndarray]] = {}
        """By the id of a value of a backward pass: which of its zeros are there because a branch was not selected."""
        self.first: Record | None = None

    def process(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        args = tuple([on_device(x, CPU) if type(x) is CudaArray else x for x in args])  # records are looked at on the CPU
        with np.errstate(all="ignore"):
            if primitive.on_values:
                return self.control(primitive, args, params)
            outs = EVAL.process(primitive, args, params)
            self.note(primitive, args, params, outs)
        return outs

    def note(self, primitive: Primitive, args: tuple, params: dict, outs: tuple) -> None:
        """Remembers where results came from."""
        source = equation_source()
        self.count += 1
        self.met.add(primitive.name)
        self.trace_zeros(primitive, args, params, outs, source)
        bad = [i for i, out in enumerate(outs) if not_finite(out).any()]
        if bad:
            turns, role = _circumstances(primitive, source)
            record = Record(self.count, primitive, params, args, outs, source, turns, role, current_path.get())
            self.first = self.first or record
            self.limit -= sum(outs[i].nbytes for i in bad)
            if self.limit < 0:
                raise MemoryError("too many numbers that are not finite")
            for i in bad:
                data = buffer_of(outs[i])
                self.makers.setdefault(id(data), (record, i, data))  # a view of all of a buffer may be the buffer
        inputs = tuple([known[0] for x in args if (known := self.origin(x)) is not None])
        for out in outs:
            number = id(out)
            self.origins[number] = weakref.ref(out, self._forget(self.origins, number)), primitive.name, source, inputs

    def trace_zeros(self, primitive: Primitive, args: tuple, params: dict, outs: tuple, source: Source | None) -> None:
        """Remembers which zeros come from a branch that is not selected: those that a NaN in its place would reach."""
        marked = {i: known[1] for i, x in enumerate(args) if (known := self.unselected.get(id(x))) and known[0]() is x}
        if primitive is select_n_p and _circumstances(primitive, source)[1] == "backward pass":
            marked |= {i: np.True_ for i, x in enumerate(args) if isinstance(x, np.inexact) and x == 0}
        if not marked or primitive.effect or not any(np.any(data_of(out) == 0) for out in outs):
            return
        changed = tuple([DeviceArray(np.where(marked[i], x.dtype.type(np.nan), data_of(x))[()]) if i in marked else x
                         for i, x in enumerate(args)])
        for out, again in zip(outs, EVAL.process(primitive, changed, params), strict=True):
            zeros = (data_of(out) == 0) & is_nan(again)
            if zeros.any():
                self.unselected[id(out)] = weakref.ref(out, self._forget(self.unselected, id(out))), zeros

    def is_unselected(self, step: Step) -> bool:
        """Whether an operand of an operation is zero because a branch was not selected, at the element of its result."""
        marks = [known[1] for x in step.record.args if (known := self.unselected.get(id(x))) and known[0]() is x]
        elementwise = step.record.primitive.kind is Kind.ELEMENTWISE
        return any(mark[step.element] if mark.ndim and elementwise else mark.any() for mark in marks)

    def same(self, value: Any, known: Any) -> None:
        """Makes known that a value came from where another one did."""
        if id(buffer_of(known)) in self.makers:
            record, i, _ = self.makers[id(buffer_of(known))]
            self.makers[id(buffer_of(value))] = record, i, buffer_of(value)
        if (origin := self.origin(known)) is not None:
            self.origins[id(value)] = weakref.ref(value, self._forget(self.origins, id(value))), *origin
        if (zeros := self.unselected.get(id(known))) is not None:
            self.unselected[id(value)] = weakref.ref(value, self._forget(self.unselected, id(value))), zeros[1]

    @staticmethod
    def _forget(known: dict, number: int) -> Callable:
        return lambda _: known.pop(number, None)

    def origin(self, value: Any) -> tuple[str, Source | None, tuple[str, ...]] | None:
        """The operation that made a value, its place, and the operations that made its operands."""
        known = self.origins.get(id(value))
        return known[1:] if known is not None and known[0]() is value else None

    # ------------------------------------------------------------ programs

    def control(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        """An operation that carries programs: they run under this trace."""
        structure = primitive.code(**params) if callable(primitive.code) else None
        name, source = primitive.name, equation_source()
        with current(self):
            if isinstance(structure, Loop) and structure.length:
                return self.loop(structure, args, name, source)
            if isinstance(structure, While):
                return self.repeat(structure, args, name, source)
            if isinstance(structure, Choice):
                which = min(max(int(data_of(args[0])), 0), len(structure.branches) - 1)
                with within(Turn("branch", which, None, name, source)):
                    return tuple(map(_array, eval_jaxpr(structure.branches[which], args[1:])))
            program = primitive.inline(*map(aval_of, args), **params) if primitive.inline else None
            if program is not None:
                return tuple(map(_array, eval_jaxpr(program, args)))
            return tuple(primitive.impl(*args, **params))

    def loop(self, loop: Loop, args: tuple, name: str, source: Source | None) -> tuple:
        """A scan: slices are taken and results stacked by operations, so that the way back leads through them."""
        carried = loop.num_consts + loop.num_carry
        consts, carry, xs = args[:loop.num_consts], list(args[loop.num_consts:carried]), args[carried:]
        ys: list[list[Any]] = [[]] * loop.length
        for step in range(loop.length):
            at = loop.length - 1 - step if loop.reverse else step
            note = f", backwards: slice {at}" if loop.reverse else ""
            with within(Turn("step", step, loop.length, name, source, note)):
                outs = eval_jaxpr(loop.body, [*consts, *carry, *[index_in_dim(x, at, 0, False) for x in xs]])
                carry, ys[at] = outs[:loop.num_carry], outs[loop.num_carry:]
        stacks = [concatenate([expand_dims(y, (0,)) for y in column], 0) for column in zip(*ys, strict=True)]
        weak = [a.weak_type for a in (*loop.body.in_avals[loop.num_consts:carried], *loop.body.out_avals[loop.num_carry:])]
        results = tuple([DeviceArray(data_of(x), w) for x, w in zip([*carry, *stacks], weak, strict=True)])
        for result, x in zip(results, [*carry, *stacks], strict=True):
            self.same(result, x)
        return results

    def repeat(self, loop: While, args: tuple, name: str, source: Source | None) -> tuple:
        """A while loop."""
        ends = loop.cond_consts, loop.cond_consts + loop.body_consts
        for_condition, for_body, state = args[:ends[0]], args[ends[0]:ends[1]], list(args[ends[1]:])
        step = 0
        while data_of(eval_jaxpr(loop.condition, [*for_condition, *state])[0]):
            with within(Turn("step", step, None, name, source)):
                state = eval_jaxpr(loop.body, [*for_body, *state])
            step += 1
        return tuple(map(_array, state))

    # ------------------------------------------------------------ the way back

    def chain(self, results: Sequence[Any]) -> Chain | None:
        """Where the NaNs of some values began, or the infinities if there is no NaN; None if all are finite.

        Of several beginnings it is the earliest.
        """
        test = is_nan if any(is_nan(x).any() for x in results) else not_finite
        starts = [(x, _first(test(x))) for x in results if test(x).any()]
        if not starts:
            return None
        parents: dict[tuple[int, int, Element], Step | None] = {}
        began: list[Step] = []
        turned: list[Step] = []  # where infinities became a NaN
        outside: list[tuple[Any, Element, Step | None]] = []
        stack: list[tuple[Any, Element, Step | None]] = [(x, element, None) for x, element in starts]
        while stack:
            value, element, after = stack.pop()
            maker = self.makers.get(id(buffer_of(value)))
            if maker is None:
                outside.append((value, element, after))
                continue
            step = Step(maker[0], maker[1], element)
            key = (step.record.number, step.out, element)
            if key in parents:
                continue
            parents[key] = after
            guilty = list(_guilty(step))
            if not guilty:
                began.append(step)
            elif step.is_nan and not any(np.isnan(np.asarray(data_of(x))[at]) for x, at in guilty):
                turned.append(step)
            stack += [(x, at, step) for x, at in guilty]

        def way(step: Step | None) -> list[Step]:
            found = []
            while step is not None:
                found.append(step)
                step = parents[step.record.number, step.out, step.element]
            return found

        if began:
            return Chain(way(min(began, key=lambda step: step.record.number)))
        value, element, after = next((entry for entry in outside if is_nan(entry[0]).any()), outside[0])
        if turned and not is_nan(value).any():  # infinities are often meant: what made a NaN of them is to blame
            after = min(turned, key=lambda step: step.record.number)
        return Chain(way(after), value, element)


def _guilty(step: Step) -> Iterator[tuple[Any, Element]]:
    """The operands, and their elements, that a bad number has its badness from; none if the operation made it itself."""
    record, wanted = step.record, np.isnan if step.is_nan else _bad
    if record.primitive.effect:
        return
    raw = [np.asarray(data_of(x)) for x in record.args]
    if record.primitive.kind is Kind.MOVEMENT:
        yield _moved_from(step, raw)
        return
    inexact = [dtypes.is_inexact(x.dtype) for x in raw]

    def bad(masks: dict[int, np.ndarray]) -> bool:
        """Whether the number is still bad with the marked numbers of the operands replaced."""
        changed = tuple([DeviceArray(np.where(masks[i], x.dtype.type(HARMLESS), x)) if i in masks else arg
                         for i, (x, arg) in enumerate(zip(raw, record.args, strict=True))])
        with np.errstate(all="ignore"):
            outs = EVAL.process(record.primitive, changed, record.params)
        return bool(wanted(np.asarray(data_of(outs[step.out]))[step.element]))

    for test in (np.isnan, _bad) if step.is_nan else (_bad,):
        masks = {i: np.asarray(test(x)) for i, x in enumerate(raw) if inexact[i]}
        masks = {i: mask for i, mask in masks.items() if mask.any()}
        if record.primitive.kind is Kind.ELEMENTWISE:  # what is bad elsewhere has not been used
            masks = {i: m for i, m in masks.items() if m[step.element if m.ndim else ()]}
        if not masks:
            continue
        if bad(masks):
            if record.primitive.kind is Kind.OPAQUE and test is np.isnan:
                yield from [(record.args[i], _first(m)) for i, m in masks.items()]  # of a matrix of NaN nothing else can come
                return
            continue
        for i, mask in masks.items():
            if not bad({i: mask}) or bad({j: m for j, m in masks.items() if j != i}):
                if record.primitive.kind is Kind.ELEMENTWISE:
                    yield record.args[i], step.element if mask.ndim else ()
                else:
                    yield from [(record.args[i], at) for at in _narrowed(bad, masks, i)]
        return


def _moved_from(step: Step, raw: list[np.ndarray]) -> tuple[Any, Element]:
    """The element of an operand that was moved to a place: their numbers are moved in the same way."""
    starts = np.cumsum([0, *[x.size for x in raw]])
    numbers = [np.arange(a, a + x.size).reshape(x.shape) for a, x in zip(starts, raw, strict=False)]
    operands = tuple([DeviceArray(x if x.ndim else x[()]) for x in numbers])
    outs = EVAL.process(step.record.primitive, operands, step.record.params)
    number = int(np.asarray(data_of(outs[step.out]))[step.element])
    i = int(np.searchsorted(starts, number, "right")) - 1
    return step.record.args[i], tuple(map(int, np.unravel_index(number - starts[i], raw[i].shape)))


def _bad(x: Any) -> Any:
    return ~np.isfinite(x)


def _narrowed(bad: Any, masks: dict[int, np.ndarray], i: int) -> list[Element]:
    """The fewest elements of operand i that, alone among its bad ones, leave the number bad."""
    elements = np.argwhere(masks[i])

    def enough(kept: np.ndarray) -> bool:
        mask = masks[i].copy()
        mask[tuple(kept.T)] = False
        return bad({i: mask})

    while len(elements) > 1:
        half = len(elements) // 2
        part = next((p for p in (elements[:half], elements[half:]) if enough(p)), None)
        if part is None:
            break
        elements = part
    return [tuple(map(int, at)) for at in elements[:FOLLOWED]]


_BACKWARDS = {backward.__code__, Tape.forward.__code__}
_RULES = {LinearizeTrace.process.__code__, apply_jvp.__code__}


def _circumstances(primitive: Primitive, source: Source | None) -> tuple[tuple[Turn, ...], str]:
    """The loops and lanes that the current operation is in, and its role, which the library's frames tell."""
    turns = within.now()
    frame = sys._getframe(1)
    while frame is not None and is_library_frame(frame):
        code = frame.f_code
        if code in _BACKWARDS:
            return (source.within if source else ()) or turns, "backward pass"
        if code is eval_jaxpr.__code__ and frame.f_locals["jaxpr"].name.startswith(("transpose(", "linear(", "vjp(")):
            return turns, "backward pass"
        if code in _RULES:
            differentiated = frame.f_locals["primitive"]
            if not differentiated.on_values and ("out" in frame.f_locals or differentiated is not primitive):
                return turns, f"derivative of {differentiated.name}"
        frame = frame.f_back
    return turns, ""


def buffer_of(x: Any) -> Any:
    """The buffer of a value, wherever it is: by it a value is known again."""
    return x._data if isinstance(x, DeviceArray) else x


def data_of(x: Any) -> Any:
    """The buffer of a value."""
    return x._data if type(x) is DeviceArray else np.asarray(x) if type(x) is CudaArray else x


def _array(x: Any) -> Any:
    return DeviceArray(x) if isinstance(x, np.generic) else x


def is_nan(x: Any) -> Any:
    data = data_of(x)
    return np.isnan(data) if dtypes.is_inexact(data.dtype) else np.zeros(np.shape(data), bool)


def not_finite(x: Any) -> Any:
    data = data_of(x)
    return ~np.isfinite(data) if dtypes.is_inexact(data.dtype) else np.zeros(np.shape(data), bool)


def _first(marks: Any) -> Element:
    """The place of the first mark."""
    return tuple(map(int, np.argwhere(np.asarray(marks))[0]))

