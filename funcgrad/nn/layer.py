"""What a layer is, and how layers are made of layers.

In: a key, and where sizes are left open an example. Out: ``params, state = layer.init(key)``, trees of dicts; then

    y, state = layer.apply(params, state, x, key=None, train=False)
    y = layer(params, x)                                  # layers without state

Parameters are what the gradient is taken of; the state is what a layer carries from one call to the next otherwise.
Layers are frozen records of hyperparameters, comparable and hashable, so they can be static arguments of ``jit``. One
that is made of others names them and says how a value goes through them; names become the paths of the parameters:

    @dataclass(frozen=True)
    class Gated(nn.Composite):
        features: int

        def parts(self):
            return {"value": nn.Linear(None, self.features), "gate": nn.Linear(None, self.features)}

        def forward(self, run, x):
            return run("value", x) * nn.sigmoid(run("gate", x))

    params, state = Gated(16).init(key, x)                # params["gate"]["weight"]
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, NoReturn

from funcgrad import numpy as fnp
from funcgrad import random, tree
from funcgrad.control.marks import named_scope
from funcgrad.errors import message
from funcgrad.transforms.staging import ShapeDtypeStruct, eval_shape

_path: ContextVar[tuple[str, ...]] = ContextVar("path", default=())
_observers: ContextVar[tuple[Callable, ...]] = ContextVar("observers", default=())
_sketches: ContextVar[dict[Any, dict[str, Any]] | None] = ContextVar("sketches", default=None)


class Layer:
    """What all layers share. A layer without parameters and state only needs ``apply``."""

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        """The parameters and the state to begin with.

        ``example``, an array or its shape and dtype (``fg.ShapeDtypeStruct``), is an input such as ``apply`` will
        get; only layers whose sizes were left open need it.
        """
        return {}, {}

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        """The result for x, and the state for the next call.

        ``key`` is for layers that draw random numbers; ``train`` chooses the behaviour of those that differ in
        training.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define apply")

    def init_cache(self, batch: int, length: int | None = None) -> dict:
        """The state with which ``apply`` takes a sequence piece by piece: what it keeps of the pieces that it has seen.

        ``batch`` is the number of sequences, ``length`` the most positions that one may have, which attention needs to
        know. Layers that treat every position alike keep nothing.
        """
        return {}

    def __call__(self, params: Any, x: Any, **options: Any) -> Any:
        """The result for x, of a layer without state; ``options`` go to ``apply``.

        Raises ValueError or TypeError for a layer with state.
        """
        y, state = self.apply(params, {}, x, **options)
        if state:
            raise TypeError(message(f"{type(self).__name__}: a layer with state was called like a function",
                                    f"state {', '.join(map(repr, state))}", None,
                                    "y, state = layer.apply(params, state, x)"))
        return y

    def __str__(self) -> str:
        """The class with the hyperparameters that are not at their defaults: ``Linear(64, 128, bias=False)``."""
        given, options = [], []
        for field in fields(self) if is_dataclass(self) else ():
            value = getattr(self, field.name)
            if field.default is MISSING and field.default_factory is MISSING:
                given.append(_shown(value))
            elif value != field.default:
                options.append(f"{field.name}={_shown(value)}")
        return f"{type(self).__name__}({', '.join(given + options)})"

    def entries(self, tree_name: str, given: Any, *names: str) -> tuple[Any, ...]:
        """The entries of the layer's ``params`` or ``state`` with these names. Raises ValueError if one is missing."""
        if isinstance(given, Mapping) and all(name in given for name in names):
            return tuple([given[name] for name in names])
        found = f"{tree_name} with {', '.join(map(repr, given)) or 'nothing'}" if isinstance(given, Mapping) else _told(given)
        self.fail(f"its {tree_name} are not there" if tree_name == "params" else "its state is not there", found,
                  ", ".join(map(repr, names)),
                  "the params that init of this model returned; nn.check_params(model, params) compares two models"
                  if tree_name == "params" else
                  "y, state = layer.apply(params, state, x), with the state that init or the last call returned")

    def size(self, name: str, example: Any, axis: int) -> int:
        """The hyperparameter ``name``, or where it is None the example's size along ``axis``.

        Raises ValueError if neither is known.
        """
        given = getattr(self, name)
        if given is not None:
            return given
        if example is None:
            self.fail(f"{name} is not known", "init(key)", None, f"a number for {name}, or init(key, example)")
        return struct(example).shape[axis]

    def check_last_axis(self, x: Any, size: int) -> None:
        """Raises ValueError unless the last axis of x has this size."""
        if fnp.shape(x)[-1:] != (size,):
            self.fail("the last axis of x does not fit", f"x of shape {fnp.shape(x)}", f"a shape (..., {size})")

    def fail(self, what: str, found: Any, expected: Any = None, instead: str | None = None,
             error: type[Exception] = ValueError) -> NoReturn:
        """Raises ValueError, or another error, with the layer, its place in the model, and what went wrong with it."""
        raise error(message(f"{self}{_place()}: {what}", found, expected, instead))


class Composite(Layer):
    """A layer made of named layers: ``parts()`` returns them, ``forward(run, x)`` sends x through them.

    Within ``forward``, ``run(name, x)`` runs a part with its own parameters, state and key. Parameters and state are
    dicts with the names of the parts; a part that has none has no entry. A part may run more than once: it has
    one set of parameters, and its state goes from one run to the next.
    """

    def parts(self) -> dict[str, Layer]:
        """The layers by name."""
        raise NotImplementedError(f"{type(self).__name__} does not define parts")

    def forward(self, run: Run, x: Any, **options: Any) -> Any:
        """The result for x."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        parts = self.parts()
        params, state = {}, {}
        keys = random.split(key, max(1, len(parts)))
        with _sketched() as known:
            examples = {} if example is None else self._examples(parts, tree.map(struct, example), known)
            for i, (name, part) in enumerate(parts.items()):
                with _within(name):
                    part_params, part_state = part.init(keys[i], examples.get(name))
                if part_params:
                    params[name] = part_params
                if part_state:
                    state[name] = part_state
        return params, state

    def init_cache(self, batch: int, length: int | None = None) -> dict:
        caches = {}
        for name, part in self.parts().items():
            with _within(name):
                caches[name] = part.init_cache(batch, length)
        return {name: cache for name, cache in caches.items() if cache}

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False, **options: Any) -> tuple[Any, Any]:
        for name, given in (("params", params), ("state", state)):
            if not isinstance(given, Mapping):
                self.fail(f"its {name} are no dict" if name == "params" else "its state is no dict", _told(given),
                          "what init returned: params, state = model.init(key)",
                          "y, state = model.apply(params, state, x), or model(params, x) where there is no state", TypeError)
        run = Run(self.parts(), params, state, key, train)
        y = self.forward(run, x, **options)
        return y, run.state

    def _examples(self, parts: dict[str, Layer], example: Any, known: dict) -> dict[str, Any]:
        """What each part gets as its input when the layer gets ``example``. Nothing is computed but shapes."""
        question = (self, tree.structure(example), tuple(tree.leaves(example))) if _hashable(self) else None
        if question in known:
            return known[question]
        run = _Sketch(parts, {}, {}, None, False)
        with observing():
            eval_shape(lambda x: self.forward(run, x), example)
        if question is not None:
            known[question] = run.examples
        return run.examples


class Run:
    """One call of a composite layer.

    ``run(name, x)`` runs a part; ``params``, ``state`` (to be replaced by what the next call shall get), ``train`` and
    ``key()`` are for what the layer does itself.
    """

    def __init__(self, parts: dict[str, Layer], params: Any, state: Any, key: Any, train: bool):
        self.parts, self.params, self.state, self.train = parts, params, dict(state), train
        self._key, self._drawn = key, 0

    def key(self) -> Any:
        """A key that nobody else has, or None if the layer was called without one."""
        if self._key is None:
            return None
        self._drawn += 1
        return random.fold_in(self._key, self._drawn)

    def __call__(self, name: str, x: Any, **options: Any) -> Any:
        """The result of the part for x; ``options`` go to its ``apply``."""
        part = self.parts[name]
        with _within(name), named_scope(f"{name}: {type(part).__name__}"):
            y, state = part.apply(self.params.get(name, {}), self.state.get(name, {}), x, self.key(), self.train, **options)
            tell(_path.get(), part, x, y)
        if state:
            self.state[name] = state
        return y


class _Sketch(Run):
    """A run that initialises each part when it is first reached, with the input that it gets."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.examples: dict[str, Any] = {}

    def __call__(self, name: str, x: Any, **options: Any) -> Any:
        if name not in self.examples:
            self.examples[name] = tree.map(struct, x)
            with _within(name):
                params, state = self.parts[name].init(random.key(0), self.examples[name])
            self.params, self.state = {**self.params, name: params}, {**self.state, name: state}
        return super().__call__(name, x, **options)


def capture(layer: Layer, params: Any, state: Any, x: Any, key: Any = None, train: bool = False, *,
            inputs: bool = False) -> tuple[Any, Any, dict[str, Any]]:
    """``layer.apply``, and what each layer inside returned: ``(y, state, {path: output})``.

    A path has dots, as in ``"blocks.0.attention"``; a layer comes after those inside of it. With ``inputs`` the dict
    holds pairs (input, output). A layer that ran more than once appears with the last run. The function can be
    differentiated, batched and compiled.
    """
    seen: dict[str, Any] = {}

    def observe(path: tuple[str, ...], part: Layer, x: Any, y: Any) -> None:
        seen[".".join(path)] = (x, y) if inputs else y

    with observing(observe):
        y, state = layer.apply(params, state, x, key, train)
    return y, state, seen


@contextmanager
def observing(*observers: Callable) -> Iterator[None]:
    """Only these functions are told ``(path, layer, x, y)`` of every layer that runs inside of a composite one."""
    token, path_token = _observers.set(observers), _path.set(())
    try:
        yield
    finally:
        _observers.reset(token)
        _path.reset(path_token)


def tell(path: tuple[str, ...], part: Layer, x: Any, y: Any) -> None:
    """Tells those who observe that a layer turned x into y."""
    for observe in _observers.get():
        observe(path, part, x, y)


@contextmanager
def collected(parts: dict[tuple[str, ...], Layer]) -> Iterator[dict[tuple[str, ...], tuple[Any, Any]]]:
    """For a loop over layers, whose values must not leave it as tracers: what ``tell`` is told in the scope goes to a dict
    {path: (x, y)}, which the loop returns and then tells itself. ``parts`` receives the layers. Empty if nobody observes.
    """
    seen: dict[tuple[str, ...], tuple[Any, Any]] = {}

    def note(path: tuple[str, ...], part: Layer, x: Any, y: Any) -> None:
        parts[path], seen[path] = part, (x, y)

    token = _observers.set((note,) if _observers.get() else ())
    try:
        yield seen
    finally:
        _observers.reset(token)


@contextmanager
def _sketched() -> Iterator[dict[Any, dict[str, Any]]]:
    """What is known of the inputs of parts while a model is initialised.

    A sketch initialises the parts that it runs, which sketch theirs, and so do they when they are initialised in earnest:
    without this memory each level of nesting would double the work.
    """
    known = _sketches.get()
    token = _sketches.set({} if known is None else known)
    try:
        yield _sketches.get()
    finally:
        _sketches.reset(token)


def _hashable(layer: Layer) -> bool:
    """Whether the layer can be looked up: one whose hyperparameters are arrays or lists cannot."""
    try:
        hash(layer)
    except TypeError:
        return False
    return True


@contextmanager
def _within(name: str) -> Iterator[None]:
    """Adds a name to the path that messages and observers get."""
    token = _path.set((*_path.get(), name))
    try:
        yield
    finally:
        _path.reset(token)


def _place() -> str:
    """Where in the model the current layer is, for a message."""
    path = ".".join(_path.get())
    return f" at {path!r}" if path else ""


def _shown(value: Any) -> str:
    """A hyperparameter as a message shows it: functions by their names, also within tuples."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))}{',' * (len(value) == 1)})"
    return getattr(value, "__name__", None) or str(value)


def _told(given: Any) -> str:
    """What stands where a dict is expected, for a message: an array by its type, which is shorter than its numbers."""
    return _type(given) if hasattr(given, "shape") else "None" if given is None else f"a {type(given).__name__}"


def _type(x: Any) -> str:
    return f"{fnp.result_type(x)}[{','.join(map(str, fnp.shape(x)))}]"


def struct(x: Any) -> ShapeDtypeStruct:
    return x if isinstance(x, ShapeDtypeStruct) else ShapeDtypeStruct(fnp.shape(x), fnp.result_type(x))


def check_params(layer: Layer, params: Any, example: Any = None) -> None:
    """Raises ValueError unless ``params`` has the paths, shapes and dtypes of the layer's own parameters.

    The message lists what is missing, what is too much and what has another shape, by path. ``example`` as in ``init``.
    """
    expected = _by_path(eval_shape(lambda key: layer.init(key, example)[0], random.key(0)))
    found = _by_path(params)
    problems = [f"{path}: missing, expected {expected[path]}" for path in expected if path not in found]
    problems += [f"{path}: {found[path]}, not a parameter of this model" for path in found if path not in expected]
    problems += [f"{path}: {found[path]}, expected {expected[path]}" for path in expected
                 if path in found and found[path] != expected[path]]
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise ValueError(message(f"check_params: the parameters are not those of {type(layer).__name__}", shown, None,
                                 "params of layer.init, or of a checkpoint of this very model"))


def _by_path(params: Any) -> dict[str, str]:
    return {tree.keystr(path, simple=True, separator="."): _type(leaf) for path, leaf in tree.flatten_with_path(params)[0]}
