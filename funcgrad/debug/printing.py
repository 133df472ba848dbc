"""Seeing values while a traced program runs: ``print``, ``log``, ``callback`` and ``breakpoint``, under every transformation.

In: values, traced or not. Out: nothing; text, or a prompt, when the program comes to this place. All of it happens in the
order of the program and before an exception that comes after it. (``pdb`` and ``logging`` take long to load, so they are
imported where they are used.)

    >>> fg.jit(lambda x: (print("x is {}", x), x + 1)[1])(2.0)
    x is 2.0
    Array(3., dtype=float64, weak_type=True)
"""
from __future__ import annotations

import builtins
import inspect
import string
from collections.abc import Callable
from types import FrameType
from typing import Any

from funcgrad.core.array import Array
from funcgrad.core.trace import Tracer
from funcgrad.errors import message
from funcgrad.ops.callback import debug_callback as callback
from funcgrad.tree import tree_map

__all__ = ["breakpoint", "callback", "log", "print"]


class _Formatter(string.Formatter):
    """``str.format``, which refuses arguments that the text does not mention."""

    def __init__(self, name: str):
        self._name = name

    def check_unused_args(self, used_args: Any, args: Any, kwargs: Any) -> None:
        unused = [*[f"argument {i}" for i in range(len(args)) if i not in used_args],
                  *[repr(name) for name in kwargs if name not in used_args]]
        if unused:
            raise ValueError(message(f"{self._name}: the text has no place for a value", ", ".join(unused),
                                     "a place {} for each value",
                                     f"{self._name}('x is {{}}', x); in an f-string write {{{{}}}}"))


def print(fmt: str, *args: Any, ordered: bool = False, partitioned: bool = False, skip_format_check: bool = False,
          **kwargs: Any) -> None:
    """Prints ``fmt.format(*args, **kwargs)`` with the values that traced arguments have when the program runs.

    Args:
      fmt: a text with a place ``{}`` or ``{name}`` for each value, and formats such as ``{:.3f}`` for numbers.
      args, kwargs: trees of arrays, and anything else, which is printed as it is.
      ordered, partitioned: accepted for compatibility; lines always come in the order of the program.
      skip_format_check: do not look for values that the text does not mention.

    Under ``vmap`` there is a line for each example. Raises ValueError if a value has no place in the text, or a place
    no value.

    >>> fg.vmap(lambda x: print("{:.1f}", x))(fnp.arange(2.0))
    0.0
    1.0
    """
    _show("debug.print", builtins.print, fmt, args, kwargs, skip_format_check)


def log(fmt: str, *args: Any, ordered: bool = False, partitioned: bool = False, skip_format_check: bool = False,
        **kwargs: Any) -> None:
    """Logs what ``print`` prints: a record of level INFO for the logger "funcgrad.debug" of Python's ``logging``.

    The file, the line and the function of the record are those that called ``log``. The arguments are those of ``print``.
    """
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    file, line, function = frame.f_back.f_code.co_filename, frame.f_back.f_lineno, frame.f_back.f_code.co_name

    def write(text: str) -> None:
        import logging
        logger = logging.getLogger("funcgrad.debug")
        if logger.isEnabledFor(logging.INFO):
            logger.handle(logger.makeRecord(logger.name, logging.INFO, file, line, text, (), None, function))

    _show("debug.log", write, fmt, args, kwargs, skip_format_check)


def _show(name: str, write: Callable, fmt: str, args: tuple, kwargs: dict[str, Any], skip_format_check: bool) -> None:
    """Writes the text when the program runs."""
    if not skip_format_check:
        try:
            _Formatter(name).format(fmt, *tree_map(_stand_in, args), **tree_map(_stand_in, kwargs))
        except (IndexError, KeyError):
            raise ValueError(message(f"{name}: the text has a place that no value is for", repr(fmt),
                                     "a value for each place {} and {name}")) from None

    def show(*values: Any, **named: Any) -> None:
        write(fmt.format(*values, **named))

    callback(show, *args, **kwargs)


class _Anything:
    """Stands for a value whose format is not known yet."""

    def __format__(self, spec: str) -> str:
        return ""


def _stand_in(x: Any) -> Any:
    return _Anything() if isinstance(x, Array) else x


def breakpoint(*, backend: str | None = None, filter_frames: bool = True, num_frames: int | None = None,
               ordered: bool = False, token: Any = None) -> None:
    """Stops the program here, when it runs, at the prompt of Python's debugger.

    The names at the prompt are the local variables of the function that called ``breakpoint``, with the values that traced ones
    have now: ``p x``, ``pp params``. ``c`` goes on, ``q`` ends the program. Outside of transformations the debugger stands in
    the function itself, and can step on from there. The arguments are accepted for compatibility.
    """
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    caller = frame.f_back
    here = dict(caller.f_locals)
    if not any(isinstance(x, Tracer) for x in here.values()) and not _traced(here):
        _debugger().set_trace(caller)
        return
    where = f"{caller.f_code.co_filename}:{caller.f_lineno} in {caller.f_code.co_name}"
    outside = caller.f_globals

    def stop(values: dict[str, Any]) -> None:
        builtins.print(f"breakpoint at {where}: {', '.join(values)}")
        _prompt(values, outside)

    callback(stop, here)


def _debugger() -> Any:
    import pdb
    return pdb.Pdb()


def _traced(tree: Any) -> bool:
    found = []
    tree_map(lambda x: found.append(isinstance(x, Tracer)), tree)
    return any(found)


def _prompt(values: dict[str, Any], outside: dict[str, Any]) -> None:
    """The debugger in a frame whose variables are these."""
    scope = {**outside, **values}
    stop: Callable[[FrameType | None], None] = _debugger().set_trace
    exec("stop(currentframe())", {"stop": stop, "currentframe": inspect.currentframe, **scope}, dict(values))
