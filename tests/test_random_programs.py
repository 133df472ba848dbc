"""Random programs: every transformation of each agrees with NumPy, with finite differences, and with the others.

A program is data: its inputs' shapes and a list of steps. It runs with the library, and with ``Plain``, where jit and
checkpoint are nothing, vmap and scan are Python loops and cond is an if.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from comparing import without_kernels
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.core.check import check_jaxpr

LARGEST = 64
"""Elements of a value."""
MARGIN = 0.02
"""How far a program stays from where it has no derivative."""

Shape = tuple[int, ...]

# ---------------------------------------------------------------- the two ways to run a program


class Ours:
    """The library's functions."""

    np = fnp
    jit, checkpoint, vmap, cond, scan, fori_loop = map(staticmethod, (
        fg.jit, fg.checkpoint, fg.vmap, fg.lax.cond, fg.lax.scan, fg.lax.fori_loop))

    def margin(self, distance: Any) -> None:
        pass

    def at_add(self, x: Any, index: Any, y: Any) -> Any:
        return fnp.asarray(x).at[index].add(y)

    def at_set(self, x: Any, index: Any, y: Any) -> Any:
        return fnp.asarray(x).at[index].set(y)

    def window(self, x: Any, start: int, size: int) -> Any:
        return fg.lax.dynamic_slice(x, (start, *[0] * (x.ndim - 1)), (size, *x.shape[1:]))

    def grad_of_product(self, x: Any, y: Any) -> Any:
        return fg.grad(lambda v: fnp.sum(fnp.sin(v) * y))(x)

    def jvp_of_product(self, x: Any, y: Any) -> Any:
        return fg.jvp(lambda v: fnp.sin(v) * y, (x,), (y,))[1]

    def custom_sin(self, x: Any) -> Any:
        f = fg.custom_jvp(fnp.sin)
        f.defjvp(lambda primals, tangents: (fnp.sin(*primals), fnp.cos(*primals) * tangents[0]))
        return f(x)

    def custom_product(self, x: Any, y: Any) -> Any:
        f = fg.custom_vjp(lambda a, b: a * fnp.cos(b))
        f.defvjp(lambda a, b: (a * fnp.cos(b), (a, b)),
                 lambda kept, ct: (ct * fnp.cos(kept[1]), -ct * kept[0] * fnp.sin(kept[1])))
        return f(x, y)


class Plain:
    """NumPy and loops. Notes how far the program is from a kink."""

    np = np

    def __init__(self) -> None:
        self.distance = np.inf

    def margin(self, distance: Any) -> None:
        self.distance = min(self.distance, float(np.min(np.abs(distance), initial=np.inf)))

    def jit(self, f: Callable) -> Callable:
        return f

    checkpoint = jit

    def vmap(self, f: Callable, in_axes: Sequence[int | None], out_axes: int) -> Callable:
        def mapped(*args: Any) -> Any:
            size, = {np.shape(x)[d] for x, d in zip(args, in_axes, strict=True) if d is not None}
            return np.stack([f(*[x if d is None else np.take(x, i, d) for x, d in zip(args, in_axes, strict=True)])
                             for i in range(size)], out_axes)

        return mapped

    def scan(self, f: Callable, carry: Any, xs: Any, reverse: bool) -> Any:
        order = range(len(xs))
        ys = [None] * len(xs)
        for i in reversed(order) if reverse else order:
            carry, ys[i] = f(carry, xs[i])
        return carry, np.stack(ys)

    def fori_loop(self, start: int, stop: int, f: Callable, state: Any) -> Any:
        for i in range(start, stop):
            state = f(i, state)
        return state

    def cond(self, choice: Any, yes: Callable, no: Callable, *args: Any) -> Any:
        return yes(*args) if choice else no(*args)

    def at_add(self, x: Any, index: Any, y: Any) -> Any:
        out = np.array(x)
        np.add.at(out, index, y)
        return out

    def at_set(self, x: Any, index: Any, y: Any) -> Any:
        out = np.array(x)
        out[index] = y
        return out

    def window(self, x: Any, start: int, size: int) -> Any:
        start = max(0, min(start, len(x) - size))
        return x[start:start + size]

    def grad_of_product(self, x: Any, y: Any) -> Any:
        return np.cos(x) * y

    def jvp_of_product(self, x: Any, y: Any) -> Any:
        return np.cos(x) * y * y

    def custom_sin(self, x: Any) -> Any:
        return np.sin(x)

    def custom_product(self, x: Any, y: Any) -> Any:
        return x * np.cos(y)


# ---------------------------------------------------------------- programs


@dataclass(frozen=True)
class Step:
    name: str
    operands: tuple[int, ...]
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """Values 0, 1, ... are the inputs; each step appends one; ``outputs`` are those returned."""

    inputs: tuple[np.ndarray, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    def run(self, lib: Any, args: Sequence[Any]) -> list[Any]:
        values = list(args)
        for step in self.steps:
            values.append(APPLY[step.name](lib, *[values[i] for i in step.operands], **step.params))
        return [values[i] for i in self.outputs]

    def __call__(self, *args: Any) -> list[Any]:
        return self.run(Ours(), args)

    def loss(self, *args: Any) -> Any:
        return sum(fnp.sum(fnp.sin(x + 0.3)) for x in self(*args))

    def lines(self, indent: str = "") -> list[str]:
        text = [f"{indent}inputs {', '.join(f'v{i}:{x.dtype}{list(x.shape)}' for i, x in enumerate(self.inputs))}"]
        for i, step in enumerate(self.steps, len(self.inputs)):
            inner = {k: p for k, p in step.params.items() if isinstance(p, Program)}
            params = "".join(f", {k}={p!r}" for k, p in step.params.items() if k not in inner)
            text.append(f"{indent}v{i} = {step.name}({', '.join(f'v{j}' for j in step.operands)}{params})")
            for name, program in inner.items():
                text += [f"{indent}  {name}:", *program.lines(indent + "    ")]
        return [*text, f"{indent}return {', '.join(f'v{i}' for i in self.outputs)}"]

    def __repr__(self) -> str:
        return "\n" + "\n".join(self.lines())


def _maximum(lib: Any, x: Any, y: Any) -> Any:
    lib.margin(x - y)
    return lib.np.maximum(x, y)


def _where(lib: Any, x: Any, y: Any, level: float) -> Any:
    lib.margin(x - level)
    return lib.np.where(x > level, x * y, y - 0.5)


def _max(lib: Any, x: Any, axis: int) -> Any:
    if lib.np is np:
        lib.margin(np.diff(np.sort(x, axis=axis), axis=axis))
    return lib.np.max(x, axis=axis)


def _sort(lib: Any, x: Any, axis: int) -> Any:
    if lib.np is np:
        lib.margin(np.diff(np.sort(x, axis=axis), axis=axis))
    return lib.np.sort(x, axis=axis)


def _closed(lib: Any, body: Program, captured: Sequence[Any]) -> Callable:
    """A body whose last inputs are closed over."""
    return lambda *args: body.run(lib, [*args, *captured])[0]


def _called(how: str) -> Callable:
    def apply(lib: Any, *args: Any, body: Program, passed: int) -> Any:
        return getattr(lib, how)(_closed(lib, body, args[passed:]))(*args[:passed])

    return apply


def _mapped(lib: Any, *args: Any, body: Program, in_axes: tuple, out_axis: int) -> Any:
    count = len(in_axes)
    return lib.vmap(_closed(lib, body, args[count:]), in_axes, out_axis)(*args[:count])


def _scanned(lib: Any, carry: Any, xs: Any, *captured: Any, body: Program, reverse: bool, result: int) -> Any:
    def step(c: Any, x: Any) -> Any:
        y = _closed(lib, body, captured)(c, x)
        return 0.6 * c + 0.4 * lib.np.sin(lib.np.mean(y)), y

    return lib.scan(step, carry, xs, reverse=reverse)[result]


def _repeated(lib: Any, state: Any, *captured: Any, body: Program, count: int) -> Any:
    return lib.fori_loop(0, count, lambda i, s: 0.6 * s + 0.4 * lib.np.sin(lib.np.mean(_closed(lib, body, captured)(s))),
                         state)


def _chosen(lib: Any, x: Any, *args: Any, yes: Program, no: Program, level: float) -> Any:
    decisive = lib.np.sum(x)
    lib.margin(decisive - level)

    def branch(body: Program) -> Callable:  # the last argument is closed over
        return lambda x, *rest: x * lib.np.mean(_closed(lib, body, args[-1:])(*rest))

    return lib.cond(decisive > level, branch(yes), branch(no), x, *args[:-1])


UNARY: dict[str, Callable] = {
    "sin": lambda lib, x: lib.np.sin(x),
    "cos": lambda lib, x: lib.np.cos(x),
    "tanh": lambda lib, x: lib.np.tanh(x),
    "exp": lambda lib, x: lib.np.exp(lib.np.sin(x)),
    "log": lambda lib, x: lib.np.log(2.0 + x * x),
    "sqrt": lambda lib, x: lib.np.sqrt(1.0 + x * x),
    "neg": lambda lib, x: -x,
    "square": lambda lib, x: x ** 2,
    "cube": lambda lib, x: x ** 3,
    "negative power": lambda lib, x: (x * x + 1.5) ** -2,
    "real power": lambda lib, x: (x * x + 1.5) ** 0.7,
    "custom_jvp sin": lambda lib, x: lib.custom_sin(x),
    "jit sin": lambda lib, x: lib.jit(lib.np.sin)(x),
    "float64 and back": lambda lib, x: (x.astype(np.float64) * 0.5).astype(x.dtype),
    "sum": lambda lib, x: lib.np.sum(x),
}
BINARY: dict[str, Callable] = {
    "add": lambda lib, x, y: x + y,
    "sub": lambda lib, x, y: x - y,
    "mul": lambda lib, x, y: x * y,
    "div": lambda lib, x, y: x / (2.0 + y * y),
    "maximum": _maximum,
    "arctan2": lambda lib, x, y: lib.np.arctan2(x, 1.5 + y * y),
    "where constant": lambda lib, x, y: lib.np.where(np.array(True), x + y, y),
}
SAME_SHAPE: dict[str, Callable] = {
    "where": _where,
    "grad of product": lambda lib, x, y: lib.grad_of_product(x, y),
    "jvp of product": lambda lib, x, y: lib.jvp_of_product(x, y),
    "custom_vjp product": lambda lib, x, y: lib.custom_product(x, y),
}
ALONG: dict[str, Callable] = {
    "sum axis": lambda lib, x, axis: lib.np.sum(x, axis=axis),
    "mean axis": lambda lib, x, axis: lib.np.mean(x, axis=axis, keepdims=True),
    "prod axis": lambda lib, x, axis: lib.np.prod(x, axis=axis),
    "max axis": _max,
    "cumsum": lambda lib, x, axis: lib.np.cumsum(x, axis=axis),
    "cumprod": lambda lib, x, axis: lib.np.cumprod(x, axis=axis),
    "flip": lambda lib, x, axis: lib.np.flip(x, axis),
    "sort": _sort,
    "move axis": lambda lib, x, axis: lib.np.moveaxis(x, axis, 0),
}
APPLY: dict[str, Callable] = {
    **UNARY, **BINARY, **SAME_SHAPE, **ALONG,
    "scaled": lambda lib, x, factor: x * factor,
    "reshape": lambda lib, x, shape: lib.np.reshape(x, shape),
    "transpose": lambda lib, x, axes: lib.np.transpose(x, axes),
    "broadcast_to": lambda lib, x, shape: lib.np.broadcast_to(x, shape),
    "slice": lambda lib, x, index: x[index],
    "rows": lambda lib, x, index: x[np.array(index)],
    "dynamic_slice": lambda lib, x, start, size: lib.window(x, start, size),
    "at add": lambda lib, x, y, index: lib.at_add(x, np.array(index), y),
    "at set": lambda lib, x, y, index: lib.at_set(x, index, y),
    "concatenate": lambda lib, x, y, axis: lib.np.concatenate([x, y, x], axis=axis),
    "stack": lambda lib, x, y: lib.np.stack([x, y]),
    "matmul": lambda lib, x, y: lib.np.matmul(x, y),
    "outer": lambda lib, x, y: lib.np.einsum("i,j->ji", lib.np.ravel(x), lib.np.ravel(y)),
    "jit": _called("jit"), "checkpoint": _called("checkpoint"), "vmap": _mapped, "scan": _scanned,
    "fori_loop": _repeated, "cond": _chosen,
}
CONTROL = ("jit", "checkpoint", "vmap", "scan", "fori_loop", "cond")

# ---------------------------------------------------------------- drawing programs


class Builder:
    """Appends drawn steps to a program, with the values that it has at its inputs at hand."""

    def __init__(self, draw: Callable, inputs: Sequence[np.ndarray], depth: int):
        self.draw, self.depth = draw, depth
        self.inputs = tuple(inputs)
        self.values = list(inputs)
        self.steps: list[Step] = []

    def pick(self, fits: Callable[[np.ndarray], bool] = lambda x: True) -> int | None:
        """A value that fits; the newest is the likeliest."""
        found = [i for i in reversed(range(len(self.values))) if fits(self.values[i])]
        return self.draw(st.sampled_from(found[:1] * len(found) + found)) if found else None

    def append(self) -> None:
        """One more step; a sine where what was drawn does not apply, is too large, or is near a kink."""
        name = self.draw(st.sampled_from(self.names()))
        found = getattr(self, "_" + name.replace(" ", "_"), self._general)(name)
        if found is None or not self.add(Step(name, *found)):
            self.add(Step("sin", (self.pick(),)))

    def names(self) -> list[str]:
        simple = [n for n in APPLY if n not in (*CONTROL, "scaled")]
        return simple + list(CONTROL) * (3 if self.depth == 2 else self.depth)

    def add(self, step: Step) -> bool:
        plain = Plain()
        value = np.asarray(APPLY[step.name](plain, *[self.values[i] for i in step.operands], **step.params))
        if plain.distance < MARGIN or value.size > LARGEST or not value.size:
            return False
        self.steps.append(step)
        self.values.append(value)
        largest = np.abs(value).max()
        if largest > 3:
            self.add(Step("scaled", (len(self.values) - 1,), {"factor": float(np.round(2 / largest, 3))}))
        return True

    def program(self, count: int, whole: bool = False) -> Program:
        """Returns the last value, or every value that no step uses."""
        for i in range(count):
            if i == 0 or self.draw(st.integers(0, 3)):
                self.append()
        used = {i for step in self.steps for i in step.operands}
        unused = [i for i in range(len(self.inputs), len(self.values)) if i not in used]
        return Program(self.inputs, tuple(self.steps), tuple(unused) if whole else (len(self.values) - 1,))

    def body(self, inputs: Sequence[np.ndarray]) -> Program:
        return Builder(self.draw, inputs, self.depth - 1).program(3)

    def some(self, low: int, high: int) -> list[int]:
        return [self.pick() for _ in range(self.draw(st.integers(low, high)))]

    def _general(self, name: str) -> tuple | None:
        if name in UNARY:
            return (self.pick(),), {}
        if name in ALONG:
            i = self.pick(lambda x: x.ndim > 0)
            return None if i is None else ((i,), {"axis": self.draw(st.integers(0, self.values[i].ndim - 1))})
        i = self.pick()
        shape = self.values[i].shape
        fits = (lambda y: y.shape == shape) if name in SAME_SHAPE else (
            lambda y: _broadcast(shape, y.shape) is not None)
        j = self.pick(fits)
        return (i, j), {"level": self.draw(st.sampled_from([0.0, -0.4, 0.7]))} if name == "where" else {}

    def _reshape(self, name: str) -> tuple:
        i = self.pick()
        n = self.values[i].size
        first = self.draw(st.sampled_from([d for d in range(1, n + 1) if n % d == 0]))
        return (i,), {"shape": self.draw(st.sampled_from([(n,), (first, n // first), (1, n // first, first)]))}

    def _transpose(self, name: str) -> tuple:
        i = self.pick()
        return (i,), {"axes": tuple(self.draw(st.permutations(range(self.values[i].ndim))))}

    def _broadcast_to(self, name: str) -> tuple:
        i = self.pick(lambda x: x.ndim < 3)
        shape = self.values[i].shape if i is not None else ()
        wider = tuple(self.draw(st.integers(1, 3)) if n == 1 else n for n in shape)
        return None if i is None else ((i,), {"shape": (self.draw(st.integers(1, 3)), *wider)})

    def _slice(self, name: str) -> tuple | None:
        i = self.pick(lambda x: x.ndim > 0)
        if i is None:
            return None
        index = []
        for n in self.values[i].shape:
            start = self.draw(st.integers(0, n - 1))
            index += self.draw(st.sampled_from([
                [slice(start, None)], [start], [start - n], [slice(None)], [slice(None, None, -1)],
                [slice(start, None, 2)], [None, slice(None)]]))
        return (i,), {"index": tuple(index)}

    def _rows(self, name: str) -> tuple | None:
        i = self.pick(lambda x: x.ndim > 0)
        return None if i is None else ((i,), {"index": self.positions(i)})

    def positions(self, i: int) -> list[int]:
        n = len(self.values[i])
        return self.draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=3))

    def _dynamic_slice(self, name: str) -> tuple | None:
        i = self.pick(lambda x: x.ndim > 0)
        if i is None:
            return None
        n = len(self.values[i])
        return (i,), {"start": self.draw(st.integers(0, n)), "size": self.draw(st.integers(1, n))}

    def _at_add(self, name: str) -> tuple | None:
        i = self.pick(lambda x: x.ndim > 0)
        if i is None:
            return None
        j = self.pick(lambda y: _broadcast(self.values[i].shape[1:], y.shape) == self.values[i].shape[1:])
        return None if j is None else ((i, j), {"index": self.positions(i)})

    def _at_set(self, name: str) -> tuple | None:
        found = self._at_add(name)
        return found and (found[0], {"index": found[1]["index"][0]})

    def _concatenate(self, name: str) -> tuple | None:
        i = self.pick(lambda x: x.ndim > 0)
        if i is None:
            return None
        shape = self.values[i].shape
        d = self.draw(st.integers(0, len(shape) - 1))
        j = self.pick(lambda y: y.ndim == len(shape) and y.shape[:d] + y.shape[d + 1:] == shape[:d] + shape[d + 1:])
        return (i, j), {"axis": d}

    def _stack(self, name: str) -> tuple:
        i = self.pick(lambda x: x.ndim < 3)
        return None if i is None else ((i, self.pick(lambda y: y.shape == self.values[i].shape)), {})

    def _matmul(self, name: str) -> tuple | None:
        i = self.pick(lambda x: x.ndim > 0)
        if i is None:
            return None
        j = self.pick(lambda y: _matrices_fit(self.values[i], y))
        return None if j is None else ((i, j), {})

    def _outer(self, name: str) -> tuple:
        return (self.pick(), self.pick()), {}

    def _jit(self, name: str) -> tuple:
        passed, captured = self.some(1, 2), self.some(0, 2)
        operands = (*passed, *captured)
        return operands, {"body": self.body([self.values[i] for i in operands]), "passed": len(passed)}

    _checkpoint = _jit

    def _vmap(self, name: str) -> tuple | None:
        i = self.pick(lambda x: x.ndim > 0)
        if i is None:
            return None
        d = self.draw(st.integers(-self.values[i].ndim, self.values[i].ndim - 1))
        size = self.values[i].shape[d]
        mapped, axes = [i], [d]
        for j in self.some(0, 2):
            mapped.append(j)
            axes.append(self.draw(st.sampled_from(
                [None, *[a for a, n in enumerate(self.values[j].shape) if n == size]])))
        captured = self.some(0, 1)
        one = [self.values[j] if a is None else np.take(self.values[j], 0, a) for j, a in zip(mapped, axes, strict=True)]
        body = self.body([*one, *[self.values[j] for j in captured]])
        result = body.run(Plain(), body.inputs)[0]
        return (*mapped, *captured), {"body": body, "in_axes": tuple(axes),
                                      "out_axis": self.draw(st.integers(-1, np.ndim(result)))}

    def _scan(self, name: str) -> tuple | None:
        j = self.pick(lambda x: x.ndim > 0)
        if j is None:
            return None
        i, captured = self.pick(), self.some(0, 2)
        body = self.body([self.values[i], self.values[j][0], *[self.values[k] for k in captured]])
        return (i, j, *captured), {"body": body, "reverse": self.draw(st.booleans()),
                                   "result": self.draw(st.integers(0, 1))}

    def _fori_loop(self, name: str) -> tuple:
        operands = (self.pick(), *self.some(0, 2))
        return operands, {"body": self.body([self.values[i] for i in operands]), "count": self.draw(st.integers(0, 3))}

    def _cond(self, name: str) -> tuple:
        operands = (self.pick(), *self.some(2, 3))
        args = [self.values[i] for i in operands[1:]]
        return operands, {"yes": self.body(args), "no": self.body(args),
                          "level": self.draw(st.sampled_from([0.0, 1.0, -1.0]))}


def _broadcast(a: Shape, b: Shape) -> Shape | None:
    """The shape that both broadcast to, or None."""
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


def _matrices_fit(x: np.ndarray, y: np.ndarray) -> bool:
    if not y.ndim or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        return False
    return min(x.ndim, y.ndim) < 2 or _broadcast(x.shape[:-2], y.shape[:-2]) is not None


@st.composite
def programs(draw: Callable, dtypes: Sequence[type] = (np.float64, np.float64, np.float32)) -> Program:
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    shapes = draw(st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=3))
    dtype = draw(st.sampled_from(dtypes))
    inputs = [np.asarray(generator.uniform(-1.5, 1.5, shape)).astype(dtype) for shape in shapes]
    return Builder(draw, inputs, 2).program(7, True)


# ---------------------------------------------------------------- the checks


def profile(examples: int) -> Callable:
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck))


def assert_close(found: Any, expected: Any, tolerance: float, types: bool = True) -> None:
    for x, y in zip(fg.tree.leaves(found), fg.tree.leaves(expected), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.shape == y.shape
        assert not types or x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * (1 + np.abs(y).max(initial=0)))


def rounding(program: Program) -> float:
    """What different orders of the same operations may make of the last digits."""
    return 1e-11 if program.inputs[0].dtype == np.float64 else 3e-4


def check_program(f: Callable, *args: Any) -> None:
    check_jaxpr(fg.make_jaxpr(f)(*args))


def directions(program: Program) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(1)
    return tuple(np.asarray(generator.uniform(-1, 1, x.shape)).astype(x.dtype) for x in program.inputs)


def difference(f: Callable, args: Sequence[np.ndarray], tangents: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The derivative of f along the tangents: central differences of two steps, extrapolated (Richardson, 1911).

    Programs whose differences depend on the step vary too fast for it, and are left out.
    """

    def central(h: float) -> list[np.ndarray]:
        plus, minus = (f([x + sign * h * t for x, t in zip(args, tangents, strict=True)]) for sign in (1, -1))
        return [(np.asarray(a) - np.asarray(b)) / (2 * h) for a, b in zip(plus, minus, strict=True)]

    pairs = list(zip(central(1e-4), central(2e-4), strict=True))
    assume(all(np.abs(fine - coarse).max(initial=0) < 1e-4 for fine, coarse in pairs))
    return [(4 * fine - coarse) / 3 for fine, coarse in pairs]


def wide(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [x.astype(np.float64) for x in arrays]


def differences_tolerance(program: Program) -> float:
    return 1e-6 if program.inputs[0].dtype == np.float64 else 2e-3


def inner(xs: Sequence[Any], ys: Sequence[Any]) -> float:
    return float(sum(np.sum(np.asarray(x, np.float64) * np.asarray(y, np.float64)) for x, y in zip(xs, ys, strict=True)))


@given(programs())
@profile(100)
def test_eager_staged_and_numpy_agree(program):
    args, tolerance = program.inputs, rounding(program)
    eager = program(*args)
    check_program(program, *args)
    assert all(x.dtype == args[0].dtype for x in eager)
    assert_close(eager, program.run(Plain(), args), tolerance)
    jaxpr, shapes = fg.make_jaxpr(program, return_shape=True)(*args)
    assert [(x.shape, x.dtype) for x in eager] == [(x.shape, x.dtype) for x in shapes]
    assert_close(fg.jit(program)(*args), eager, tolerance)
    assert_close(fg.checkpoint(program)(*args), eager, tolerance)


@given(programs())
@profile(160)
def test_first_derivatives(program):
    args, tangents, tolerance = program.inputs, directions(program), rounding(program)
    outs, dots = fg.jvp(program, args, tangents)
    assert_close(outs, program(*args), tolerance)
    numeric = difference(lambda xs: program.run(Plain(), xs), wide(args), wide(tangents))
    assert_close(dots, numeric, differences_tolerance(program), types=False)
    assert_close(fg.linearize(program, *args)[1](*tangents), dots, tolerance)

    outs, pullback = fg.vjp(program, *args)
    cotangents = [np.cos(np.arange(x.size, dtype=x.dtype)).reshape(x.shape) for x in outs]
    pulled = pullback(cotangents)
    assert_close(inner(pulled, tangents), inner(cotangents, dots), 100 * tolerance)

    where = tuple(range(len(args)))
    gradient = fg.grad(program.loss, where)(*args)
    assert [(g.shape, g.dtype) for g in gradient] == [(x.shape, x.dtype) for x in args]

    def forward(a: Any, t: Any) -> Any:
        return fg.jvp(program, a, t)[1]

    with without_kernels():
        assert_close(fg.jit(forward)(args, tangents), dots, tolerance)
        for f in (fg.jit(fg.grad(program.loss, where)), fg.grad(fg.jit(program.loss), where),
                  fg.grad(fg.checkpoint(program.loss), where), fg.jit(fg.grad(fg.checkpoint(fg.jit(program.loss)), where))):
            assert_close(f(*args), gradient, 10 * tolerance)
    check_program(fg.grad(program.loss, where), *args)
    check_program(forward, args, tangents)
    check_program(lambda a, t: fg.linearize(program, *a)[1](*t), args, tangents)


@given(programs(), st.booleans())
@profile(100)
def test_kernels_of_first_derivatives(program, in_parts):
    """The kernels of what ``test_first_derivatives`` checks without them; ``test_compiled.py`` has those of other programs.

    In parts: the values and what the derivative needs of them by one program, the derivative by another.
    """
    where = tuple(range(len(program.inputs)))
    f = fg.grad(fg.jit(program.loss), where) if in_parts else fg.jit(fg.grad(fg.checkpoint(fg.jit(program.loss)), where))
    assert_close(f(*program.inputs), fg.grad(program.loss, where)(*program.inputs), 10 * rounding(program))


@given(programs(), st.lists(st.sampled_from([0, -1, None]), min_size=3, max_size=3), st.sampled_from(["value", "gradient", None]))
@profile(120)
def test_batches_equal_loops(program, axes, kernels):
    args, tolerance = program.inputs, rounding(program)
    axes = [0 if i == 0 and axes[0] is None else d for i, d in enumerate(axes[:len(args)])]
    batches = [x if d is None else np.stack([x, x * 0.9 + x.dtype.type(0.05), -x], d)
               for x, d in zip(args, axes, strict=True)]
    where = tuple(range(len(args)))

    def looped(f: Callable) -> Any:
        rows = [f(*[x if d is None else np.take(x, i, d) for x, d in zip(batches, axes, strict=True)]) for i in range(3)]
        return fg.tree.map(lambda *xs: np.stack([np.asarray(x) for x in xs]), *rows)

    gradient = fg.grad(program.loss, where)
    for f, scale, name in ((program, 1, "value"), (gradient, 10, "gradient")):
        expected = looped(f)
        assert_close(fg.vmap(f, tuple(axes))(*batches), expected, scale * tolerance)
        with nullcontext() if kernels == name else without_kernels():
            assert_close(fg.jit(fg.vmap(fg.jit(f), tuple(axes)))(*batches), expected, scale * tolerance)
        check_program(fg.vmap(f, tuple(axes)), *batches)
    total = fg.grad(lambda *xs: fnp.sum(fg.vmap(program.loss, tuple(axes))(*xs)), where)(*batches)
    for found, each, d in zip(total, looped(gradient), axes, strict=True):
        assert_close(found, each.sum(0) if d is None else np.moveaxis(each, 0, d), 30 * tolerance)


@given(programs((np.float64,)), st.sampled_from([True, False, False]))
@profile(60)
def test_second_derivatives(program, kernels):
    args, tangents = program.inputs, directions(program)
    where = tuple(range(len(args)))
    gradient = fg.grad(program.loss, where)
    numeric = difference(lambda xs: gradient(*xs), args, tangents)

    def forward_over_reverse(xs: Any, ts: Any) -> Any:
        return fg.jvp(lambda *x: fg.grad(program.loss, where)(*x), xs, ts)[1]

    def reverse_over_forward(xs: Any, ts: Any) -> Any:
        return fg.grad(lambda *x: fg.jvp(program.loss, x, ts)[1], where)(*xs)

    def reverse_over_reverse(xs: Any, ts: Any) -> Any:
        return fg.vjp(lambda *x: fg.grad(program.loss, where)(*x), *xs)[1](ts)

    found = forward_over_reverse(args, tangents)
    assert_close(found, numeric, 1e-5)
    with nullcontext() if kernels else without_kernels():
        for f in (reverse_over_forward, reverse_over_reverse, fg.jit(forward_over_reverse)):
            assert_close(f(args, tangents), found, 1e-9)
    check_program(reverse_over_reverse, args, tangents)
