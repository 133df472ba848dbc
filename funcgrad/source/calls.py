"""NumPy calls as text: an operation's ``impl`` is run on values that write down what is done with them.

In: ``impl(xp, *values, **params)`` of a primitive, with ``Written`` values. Out: a graph of ``Written`` values, each with the
text that computes it and the number that it is in this run. So an operation is spelled in one place, its ``impl``.

    impl(xp, x, y): xp.maximum(x, y) * 2    ->    np.maximum(x, y) * 2
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.errors import Source

ATOM, POWER, UNARY, TIMES, PLUS, SHIFT, AND, XOR, OR, COMPARE = range(10)
"""How tightly the text of a value binds."""

Part = Any
"""A piece of text, or the value whose text stands there."""

_BINARY = {"add": ("+", PLUS), "sub": ("-", PLUS), "mul": ("*", TIMES), "truediv": ("/", TIMES), "floordiv": ("//", TIMES),
           "mod": ("%", TIMES), "matmul": ("@", TIMES), "pow": ("**", POWER), "lshift": ("<<", SHIFT), "rshift": (">>", SHIFT),
           "and": ("&", AND), "xor": ("^", XOR), "or": ("|", OR)}
_COMPARED = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_UFUNCS = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "less": "lt", "less_equal": "le",
           "greater": "gt", "greater_equal": "ge", "equal": "eq", "not_equal": "ne", "bitwise_and": "and", "bitwise_or": "or",
           "bitwise_xor": "xor"}
_PLAIN = frozenset(("shape", "dtype", "ndim", "size", "itemsize", "nbytes", "flags", "strides"))


class NoSpellingError(NotImplementedError):
    """An operation that cannot be written with NumPy."""


class Statement:
    """A line that changes a value in its place."""

    __slots__ = ("parts",)

    def __init__(self, parts: list[Part]):
        self.parts = parts


class Block:
    """Lines under a head, such as a loop."""

    __slots__ = ("head", "lines")

    def __init__(self, head: list[Part], lines: list[Any]):
        self.head, self.lines = head, lines


class Written:
    """A value with the text that computes it: pieces of text and the values that stand between them."""

    __array_priority__ = 10_000

    def __init__(self, scribe: Scribe, value: Any, parts: list[Part], binds: int = ATOM):
        self._scribe, self._value, self._parts, self._binds = scribe, value, parts, binds
        self._source = scribe.source
        self._name = ""
        self._spread: Any = None
        """What broadcasting to this shape gives this value."""
        self._truth: Any = None
        """The condition that this integer is made of."""
        self._changes = False
        """Whether it is changed in its place, and needs a name."""
        scribe.lines.append(self)

    def __getattr__(self, name: str) -> Any:
        if name in _PLAIN:
            return getattr(self._value, name)
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self._value, name)
        if callable(found):
            return Method(self, name)
        return self._scribe.write(found, [Operand(self, ATOM), f".{name}"])

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise NoSpellingError("its implementation leaves NumPy")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs and ufunc.__name__ in _UFUNCS and len(args) == 2:
            return self._scribe.binary(_UFUNCS[ufunc.__name__], *args)
        path = _path_of(ufunc)
        return self._scribe.call(ufunc if method == "__call__" else getattr(ufunc, method),
                                 path if method == "__call__" else f"{path}.{method}", args, kwargs)

    def __array_function__(self, function: Callable, types: Any, args: tuple, kwargs: dict) -> Any:
        return self._scribe.call(function, _path_of(function), args, kwargs)

    def __getitem__(self, index: Any) -> Written:
        return self._scribe.write(self._value[_real(index)], [Operand(self, ATOM), "[", *_index(index), "]"])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._value[_real(index)] = _real(value)
        self._changes = True
        self._scribe.lines.append(Statement([Operand(self, ATOM), "[", *_index(index), "] = ", *_argument(value)]))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("real", "imag"):
            setattr(self._value, name, _real(value))
            self._scribe.lines.append(Statement([Operand(self, ATOM), f".{name} = ", *_argument(value)]))
        elif name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            raise NoSpellingError(f"its implementation sets {name}")

    def __len__(self) -> int:
        return len(self._value)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self._value)))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __int__(self) -> int:
        return int(self._value)

    def __index__(self) -> int:
        raise NoSpellingError("its implementation uses a value as a Python integer")

    def __neg__(self) -> Written:
        return self._scribe.write(-self._value, ["-", Operand(self, UNARY)], UNARY)

    def __invert__(self) -> Written:
        return self._scribe.write(~self._value, ["~", Operand(self, UNARY)], UNARY)

    def __abs__(self) -> Written:
        return self._scribe.call(np.abs, "np.abs", (self,), {})


def _operators() -> None:
    def forward(name: str) -> Callable:
        return lambda x, y: x._scribe.binary(name, x, y)

    def backward(name: str) -> Callable:
        return lambda x, y: x._scribe.binary(name, y, x)

    def in_place(name: str) -> Callable:
        return lambda x, y: x._scribe.change(name, x, y) if isinstance(x._value, np.ndarray) else x._scribe.binary(name, x, y)

    for name in (*_BINARY, *_COMPARED):
        setattr(Written, f"__{name}__", forward(name))
    for name in _BINARY:
        setattr(Written, f"__r{name}__", backward(name))
        setattr(Written, f"__i{name}__", in_place(name))
    Written.__hash__ = object.__hash__  # type: ignore[method-assign]


_operators()


class Missing:
    """Stands in a text that cannot be written, with the reason."""

    __slots__ = ("error",)

    def __init__(self, error: Exception):
        self.error = error


class Operand:
    """A value in a text, in parentheses if it binds less tightly than its place needs."""

    __slots__ = ("value", "binds")

    def __init__(self, value: Written, binds: int):
        self.value, self.binds = value, binds


class Method:
    """A method of a value, or a function of a module, that is written when it is called."""

    def __init__(self, owner: Written, name: str):
        self.owner, self.name = owner, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        owner = self.owner
        return owner._scribe.call(getattr(owner._value, self.name), None, args, kwargs, [Operand(owner, ATOM), f".{self.name}"])


class Module:
    """Stands for ``numpy`` in an ``impl``, and for its submodules."""

    def __init__(self, scribe: Scribe, module: Any, path: str):
        self._scribe, self._module, self._path = scribe, module, path

    def __getattr__(self, name: str) -> Any:
        found, path = getattr(self._module, name), f"{self._path}.{name}"
        if isinstance(found, ModuleType):
            return Module(self._scribe, found, path)
        if isinstance(found, type) or not callable(found):
            return found
        return Function(self._scribe, found, path)


class Function:
    """A function of a module; attributes are methods of a ufunc."""

    def __init__(self, scribe: Scribe, function: Callable, path: str):
        self._scribe, self._function, self._path = scribe, function, path

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self._function, np.ufunc) and self._function.__name__ in _UFUNCS and len(args) == 2 and not kwargs:
            return self._scribe.binary(_UFUNCS[self._function.__name__], *args)
        if self._function is np.negative and isinstance(args[0], Written):
            return -args[0]
        return self._scribe.call(self._function, self._path, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return Function(self._scribe, getattr(self._function, name), f"{self._path}.{name}")


class Scribe:
    """Writes calls down, line after line."""

    def __init__(self) -> None:
        self.lines: list[Written | Statement | Block] = []
        self.source: Source | None = None
        """The user's line that is being written."""
        self.modules: set[str] = set()
        self.xp = Module(self, np, "np")

    def write(self, value: Any, parts: list[Part], binds: int = ATOM) -> Any:
        """The value of a text; a tuple of values for a tuple."""
        if isinstance(value, tuple):
            whole = Written(self, value, parts, binds)
            return tuple([Written(self, x, [Operand(whole, ATOM), f"[{i}]"]) for i, x in enumerate(value)])
        return Written(self, value, parts, binds)

    def binary(self, name: str, x: Any, y: Any) -> Any:
        """An operator between two values."""
        if name != "matmul" and isinstance(x, Written) and isinstance(y, Written) and x.shape == y.shape:
            if y._spread is not None and x._spread is None:  # NumPy broadcasts by itself
                y = y._spread
            elif x._spread is not None and y._spread is None:
                x = x._spread
        sign, binds = (_COMPARED[name], COMPARE) if name in _COMPARED else _BINARY[name]
        like = next(a.dtype for a in (x, y) if isinstance(a, Written))
        value = _apply(name, _real(x), _real(y))
        left = [Operand(x, binds - (name == "pow") - (name in _COMPARED))] if isinstance(x, Written) else [
            f"({literal(x, like)})" if name == "pow" else literal(x, like)]
        right = [Operand(y, binds - 1)] if isinstance(y, Written) else [literal(y, like)]
        return self.write(value, [*left, f" {sign} " if name != "pow" else "**", *right], binds)

    def change(self, name: str, x: Written, y: Any) -> Written:
        """``x += y``, which changes x."""
        x._value[...] = _apply(name, x._value, _real(y))
        x._changes = True
        self.lines.append(Statement([Operand(x, ATOM), f" {_BINARY[name][0]}= ", *_argument(y, x.dtype)]))
        return x

    def call(self, function: Callable, path: str | None, args: Sequence[Any], kwargs: dict,
             head: list[Part] | None = None) -> Any:
        """A call of a function by its path, or of the method that ``head`` spells."""
        value = function(*_real(args), **_real(kwargs))
        if path is not None and not path.startswith("np"):
            self.modules.add(path.rpartition(".")[0])
        first = head or [path]
        like = next((a.dtype for a in args if isinstance(a, Written)), None) if isinstance(function, np.ufunc) else None
        texts = [_argument(a, like) for a in args] + [[f"{k}=", *_argument(v)] for k, v in kwargs.items()]
        parts = [*first, "(", *[p for i, text in enumerate(texts) for p in ([", "] if i else []) + text], ")"]
        if value is None:  # such as np.add.at, which changes its first argument
            self.lines.append(Statement(parts))
            return None
        out = kwargs.get("out")
        if out is not None:
            self.lines.append(Statement(parts))
            out = out[0] if isinstance(out, tuple) else out
            out._changes = True
            return out
        return self.write(value, parts)


def _apply(name: str, x: Any, y: Any) -> Any:
    import operator
    return getattr(operator, {"and": "and_", "or": "or_"}.get(name, name))(x, y)


def _path_of(function: Any) -> str:
    """Where a function of NumPy or SciPy is found, by its name."""
    name = function.__name__
    if isinstance(function, np.ufunc) and getattr(np, name, None) is not function:
        import scipy.special
        places = ("scipy.special", scipy.special), ("scipy.special._ufuncs", scipy.special._ufuncs)
        found = next((f"{path}.{name}" for path, module in places if getattr(module, name, None) is function), None)
        if found is None:
            raise NoSpellingError(f"{name} has no public name")
        return found
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module.replace('numpy', 'np', 1) if module.split('.')[0] == 'numpy' else module}.{name}"


def _real(x: Any) -> Any:
    """The numbers of values, in containers too."""
    if isinstance(x, Written):
        return x._value
    if isinstance(x, (tuple, list)):
        return type(x)(map(_real, x))
    if isinstance(x, dict):
        return {k: _real(v) for k, v in x.items()}
    return slice(_real(x.start), _real(x.stop), _real(x.step)) if isinstance(x, slice) else x


def _argument(x: Any, like: Any = None) -> list[Part]:
    """An argument of a call as text."""
    if isinstance(x, Written):
        return [Operand(x, COMPARE)]
    if isinstance(x, (tuple, list)) and not all(isinstance(v, int) for v in x):
        ends = "()" if isinstance(x, tuple) else "[]"
        inside = [p for i, v in enumerate(x) for p in ([", "] if i else []) + _argument(v)]
        return [ends[0], *inside, "," if len(x) == 1 and isinstance(x, tuple) else "", ends[1]]
    return [literal(x, like)]


def spread(out: Any, x: Any) -> Any:
    """``out``, which is x broadcast: an operator on it may take x."""
    out._spread = x
    return out


def _index(index: Any) -> list[Part]:
    if isinstance(index, tuple) and index:
        return [p for i, v in enumerate(index) for p in ([", "] if i else []) + _index(v)]
    if isinstance(index, slice):
        ends = [[""] if v is None else _argument(v) for v in (index.start, index.stop)]
        return [*ends[0], ":", *ends[1], *([":", *_argument(index.step)] if index.step not in (None, 1) else [])]
    return ["..."] if index is Ellipsis else _argument(index)


def literal(x: Any, like: Any = None) -> str:
    """A number, dtype or array as text. Next to a value of the dtype ``like`` a plain number is enough."""
    if isinstance(x, (np.dtype, type)):
        dtype = np.dtype(x) if isinstance(x, np.dtype) or issubclass(x, np.generic) else None
        if dtype is None:
            return x.__name__
        if dtype.isbuiltin != 1:
            raise NoSpellingError(f"NumPy has no dtype {dtype}")
        return f"np.{dtype.name}" if dtype.kind != "b" else "bool"
    if isinstance(x, np.generic):
        plain = x.dtype == like or x.dtype in (np.float64, np.int64, np.bool_, np.complex128)
        if x.dtype.isbuiltin != 1:
            raise NoSpellingError(f"NumPy has no dtype {x.dtype}")
        return _number(x) if plain else f"np.{x.dtype.name}({_number(x)})"
    if isinstance(x, np.ndarray):
        return f"np.array({_nested(x)}, {literal(x.dtype)})" if x.size else f"np.zeros({x.shape}, {literal(x.dtype)})"
    if isinstance(x, (float, complex)):
        return _number(np.asarray(x)[()])
    return repr(x)


def _number(x: np.generic) -> str:
    if dtypes.kind(x.dtype) == "c":
        return f"complex({_number(x.real)}, {_number(x.imag)})"
    if dtypes.kind(x.dtype) == "f":
        if not np.isfinite(x):
            return "np.nan" if np.isnan(x) else "np.inf" if x > 0 else "-np.inf"
        return repr(x.item()) if x.dtype == np.float64 else str(x)
    return str(x.item())


def _nested(x: np.ndarray) -> str:
    return f"[{', '.join(map(_nested, x))}]" if x.ndim else _number(x[()])
