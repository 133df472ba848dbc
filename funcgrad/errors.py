"""What goes wrong, said in one shape: where, what was found, what was expected, what to write instead.

In: the pieces of a message. Out: exceptions whose names are those of ``jax.errors`` where JAX has one.

    vmap: the mapped axes have different sizes, called at train.py:12 in step
      found:    x has size 3 along axis 0; params['W'] has size 4
      expected: one size for all mapped axes
      instead:  pass in_axes=None for an argument that is not mapped
"""
from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import CodeType, FrameType

import numpy as np

PACKAGE_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STANDARD_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_LIBRARY_FOLDERS = (PACKAGE_FOLDER, os.path.dirname(os.path.abspath(np.__file__)) + os.sep,
                    _STANDARD_LIBRARY + "contextlib.py", _STANDARD_LIBRARY + "functools.py")


class ConcretizationTypeError(TypeError):
    """A concrete value was needed where only a traced one, known by shape and dtype, is at hand."""


class TracerBoolConversionError(ConcretizationTypeError):
    """A traced value was used as a Python condition."""


class TracerIntegerConversionError(ConcretizationTypeError):
    """A traced value was used where Python needs an integer."""


class TracerArrayConversionError(TypeError):
    """A traced value was handed to code that needs a NumPy array."""


class NonConcreteBooleanIndexError(IndexError):
    """A traced boolean mask was used as an index, so the size of the result is unknown."""


class UnexpectedTracerError(RuntimeError):
    """A traced value was used after the transformation that made it had ended."""


class MissingRuleError(NotImplementedError):
    """A primitive has no rule for a transformation."""


class ReverseModeError(MissingRuleError, ValueError):
    """Reverse mode through a loop whose number of steps is not known before it runs."""


class NotLinearError(TypeError):
    """A function that must be linear is not."""


class DeviceError(RuntimeError):
    """A device that is not there, that cannot do what was asked, or that another operand is not on."""


class DonatedBufferError(RuntimeError):
    """An array was used after it had been donated to a compiled function."""


class JaxprTypeError(TypeError):
    """A jaxpr is not well formed: an undefined variable, or an equation whose types do not fit its primitive."""


class _IsLibrary(dict):
    """For each file name met, whether its code is the library's, or NumPy's, which calls it for the user.

    It is asked for every equation, so the answer is remembered.
    """

    def __missing__(self, filename: str) -> bool:
        answer = self[filename] = filename.startswith(_LIBRARY_FOLDERS)
        return answer


_is_library = _IsLibrary()


def is_library_frame(frame: FrameType) -> bool:
    """Whether a frame runs the library's own code."""
    return _is_library[frame.f_code.co_filename]


def user_frame() -> FrameType | None:
    """The innermost frame that is not funcgrad's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (_is_library[frame.f_code.co_filename] or _is_generated(frame.f_code)):
        frame = frame.f_back
    return frame


def _is_generated(code: CodeType) -> bool:
    """Whether code is the ``__init__`` that the standard library writes for a dataclass."""
    return code.co_name == "__init__" and code.co_filename == "<string>"


class Source:
    """A place in the user's code: a code object and an instruction offset, turned into file and line when asked.

    ``within`` tells in which steps of loops and lanes of batches it was met, where those run one by one. What a derivative
    does because of the user's operation is ``derived``: its tangents and cotangents are not what the user's code stores there.
    """

    __slots__ = ("code", "offset", "within", "derived")

    def __init__(self, code: CodeType, offset: int, derived: bool = False):
        self.code, self.offset, self.within, self.derived = code, offset, _within.get(), derived

    @property
    def line(self) -> int | None:
        for start, end, line in self.code.co_lines():
            if start <= self.offset < end:
                return line
        return self.code.co_firstlineno

    @property
    def text(self) -> str:
        """The line itself."""
        import linecache  # takes long to load
        return linecache.getline(self.file, self.line).strip() if self.line else ""

    @property
    def file(self) -> str:
        return self.code.co_filename

    def __str__(self) -> str:
        return f"{file_name(self.file)}:{self.line} in {self.code.co_name}"


def file_name(path: str) -> str:
    """The name of a file of the user's code. A cell of a notebook, whose file is named by a number, is ``In[4]``."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    cell = shell and shell.compile.format_code_name(path)
    return cell[1] if cell else os.path.basename(path)


class Sourced:
    """What happened at a ``source``, which may be None: its file, line and text for the user."""

    __slots__ = ()
    source: Source | None

    @property
    def file(self) -> str:
        return self.source.file if self.source else ""

    @property
    def line(self) -> int | None:
        return self.source.line if self.source else None

    @property
    def text(self) -> str:
        return self.source.text if self.source else ""


def user_source() -> Source | None:
    """Where in the user's code the current call comes from."""
    frame = user_frame()
    return None if frame is None else Source(frame.f_code, frame.f_lasti)


@dataclass(frozen=True, slots=True)
class Turn:
    """One of several turns that run one by one: ``step 3 of 10 of scan``, ``lane 2 of 5 of vmap``, ``branch 1 of cond``."""

    kind: str
    number: int
    count: int | None
    what: str
    source: Source | None
    note: str = ""

    def __str__(self) -> str:
        of = f" of {self.count}" if self.count is not None else ""
        place = f" at {self.source}" if self.source else ""
        return f"{self.kind} {self.number}{of} of {self.what}{place}{self.note}"


_within: ContextVar[tuple[Turn, ...]] = ContextVar("within", default=())


class within:  # noqa: N801  a context manager, named like one
    """Inside, sources belong to this turn of a loop or batch. ``within.now()``: all turns, innermost first."""

    __slots__ = ("turn", "token")
    now: Callable[[], tuple[Turn, ...]] = staticmethod(_within.get)

    def __init__(self, turn: Turn):
        self.turn = turn

    def __enter__(self) -> None:
        self.token: Token = _within.set((self.turn, *_within.get()))

    def __exit__(self, *exception: object) -> None:
        _within.reset(self.token)


_evaluators: dict[int, CodeType] = {}


def evaluates_equations(function: Callable) -> None:
    """Declares that a function evaluates equations: in its variable ``source`` is where the current one came from."""
    code: CodeType = function.__code__  # type: ignore[attr-defined]
    _evaluators[id(code)] = code


def equation_source() -> Source | None:
    """As ``user_source``; inside of a program that is being evaluated, where its current equation came from."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_library[frame.f_code.co_filename]:
        if id(frame.f_code) in _evaluators:
            source = frame.f_locals.get("source")
            if source is not None:
                return source
        frame = frame.f_back
    return None if frame is None else Source(frame.f_code, frame.f_lasti)


_CALLED, _RUN = ", called at ", ", in a program run at "


def message(where: str, found: object = None, expected: object = None, instead: object = None) -> str:
    """The text of a user-facing error; the user's file and line are added to its first line."""
    source = user_source()
    lines = [where if source is None else f"{where}{_CALLED}{source}"]
    for label, text in (("found:", found), ("expected:", expected), ("instead:", instead)):
        if text is not None:
            lines.append(f"  {label:<9} {text}")
    return "\n".join(lines)


def locate(error: Exception, source: Source | None) -> None:
    """Adds to an error where the user wrote the operation of a program that raised it; the innermost program does."""
    if source is None or getattr(error, "__notes__", None) or _RUN in str(error):
        return
    place, text = str(source), error.args[0] if error.args else None
    head, newline, rest = text.partition("\n") if isinstance(text, str) else ("", "", "")
    where, called, caller = head.rpartition(_CALLED)
    if not called:
        error.add_note(f"in a program, at {place}")
    elif caller != place:
        error.args = (f"{where}{_CALLED}{place}{_RUN}{caller}{newline}{rest}", *error.args[1:])
