"""A primitive: one record that holds everything the system knows of an operation.

In: rules, written beside the user function in a family file of ``ops/``. Out: a frozen ``Primitive`` whose ``bind``
hands the operation to the current trace. A slot holds a rule or a marker with a reason, never nothing.

    sin_p = elementwise("sin", lambda xp, x: xp.sin(x), jvp=Partials(lambda y, x: cos(x)), code="sin({0})")

Rules, with the arrays positional and the metadata keyword (``shape`` gets abstract values):

    shape(*avals, **params)              -> aval or tuple of avals
    impl(xp, *buffers, **params)         -> buffer or tuple of buffers; xp is numpy or cupy
    jvp                                  -> Partials, LINEAR, BILINEAR, a Constant(...), a No(...), or
        f(primals, tangents, **params)   -> (outs, out_tangents), tuples; a tangent may be a Zero
    transpose(cotangents, *args, **params) -> tuple with a cotangent, a Zero or None for each argument; a linear
                                            argument is given as Linear(aval); cotangents may hold Zeros
    batch(axis, args, axes, **params)    -> (outs, out_axes), tuples; axis has .size and .name, an axes entry is None
                                            where the argument is not batched
    taylor                               -> DERIVED, PIECEWISE_LINEAR, or f(primals, series, **params) -> (outs, out_series);
                                            series holds for each argument a tuple of its normalised Taylor coefficients
                                            from the first on, all of one length; a coefficient may be a Zero.
                                            A rule may return NotImplemented for what the derived one does as well
    code                                 -> what the compiler makes of it, or HOST. Elementwise: a scalar expression, one
                                            for each kind of dtype, or a tuple with one for each result. Movement:
                                            f(view, **params) -> a strided view, or INDEX. Reduction: how two values
                                            combine, and what it starts from. Control: f(**params) -> a record of
                                            structure.py. Any other: Native(...)
    linearize(trace, primals, tangents, **params) -> (outs, out_tangents), for those that carry jaxprs
    depends(marked, **params)            -> which results depend on the arguments marked, for those that carry jaxprs
    stage(trace, args, params)           -> outs, for those that carry functions
    inline(*avals, **params)             -> the Jaxpr that at run time does the same on the same arguments (or None, if
                                            there is none), for those that carry programs; a pass puts its equations
                                            in the place of the call
    cuda                                 -> what computes it on a GPU outside of compiled programs: SAME for impl with
                                            xp = cupy, f(cupy, *buffers, **params), or HOST where CuPy has nothing for
                                            it (``numpy_only`` marks such an impl): the operands are copied to the host
                                            then, and the results back. A rule may raise ThroughHost for some operands
    flops(ins, outs, **params)           -> the arithmetic of one call, from the types of arguments and results, where it does
                                            not follow from the kind (``core/cost.py``)
    prune(used, **params)                -> (kept arguments, kept results, params): masks and the params of the same
                                            operation that gives at least the results marked as used, for loops
"""
from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from funcgrad.core.trace import current_trace
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.errors import MissingRuleError, message


class Kind(enum.Enum):
    """What an operation is made of; it supplies default rules and decides what may fuse."""

    ELEMENTWISE = "a scalar expression"
    MOVEMENT = "an index map"
    REDUCTION = "a combination with an identity"
    CONTRACTION = "a sum of products"
    OPAQUE = "a library call"
    CONTROL = "carries programs"


class No:
    """An explicit absence of a rule, with its reason: asking for it raises."""

    __slots__ = ("reason",)

    def __init__(self, reason: str):
        self.reason = reason

    def __repr__(self) -> str:
        return f"No({self.reason!r})"


class Constant:
    """jvp: the derivative is zero wherever it exists, for this reason."""

    __slots__ = ("reason",)

    def __init__(self, reason: str):
        self.reason = reason

    def __repr__(self) -> str:
        return f"Constant({self.reason!r})"


class Marker:
    """A rule that its name says in full, such as "linear"."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return self.name


LINEAR = Marker("LINEAR")
"""jvp: linear in all its inexact arguments together; the tangent is the same operation on the tangents."""
BILINEAR = Marker("BILINEAR")
"""jvp: linear in each of its two arguments; the tangent is the sum of two products."""
DERIVED = Marker("DERIVED")
"""taylor: follows from the jvp rule."""
PIECEWISE_LINEAR = Marker("PIECEWISE_LINEAR")
"""taylor: linear near almost all values; each coefficient moves as a tangent does."""
ALIGN = Marker("ALIGN")
"""batch: elementwise; the batched axes of the arguments are brought to one place."""
HOST = Marker("HOST")
"""code: there is no scalar expression; the operation is a call of ``impl`` on the host."""
SAME = Marker("SAME")
"""cuda: ``impl``, with CuPy in the place of NumPy."""
INDEX = Marker("INDEX")
"""code: each element is its own index along the axis ``dimension``."""
PIECEWISE_CONSTANT = Constant("piecewise constant")
NOT_LINEAR = No("not linear in any argument")


def no_flops(ins: Any, outs: Any, **params: Any) -> int:
    """flops: it only moves numbers."""
    return 0


class Native:
    """code: a hand-shaped kernel of the compiler, by the name of its builder; its arguments are the builder's own."""

    __slots__ = ("name", "arguments")

    def __init__(self, name: str, **arguments: Any):
        self.name, self.arguments = name, arguments

    def __repr__(self) -> str:
        return f"Native({self.name!r})"


class Partials:
    """The derivative of an elementwise operation, one entry an argument.

    An entry is a function of (result, *arguments), the constant 1 or -1, or None where the derivative is zero.
    """

    __slots__ = ("entries",)

    def __init__(self, *entries: Callable | int | None):
        self.entries = entries


class LinearIn:
    """transpose: an elementwise operation linear in each of these arguments; their partials are its transpose."""

    __slots__ = ("positions",)

    def __init__(self, *positions: int):
        self.positions = positions


class Linear:
    """Stands for a linear argument in a transpose rule: only its type is known."""

    __slots__ = ("aval",)

    def __init__(self, aval: ShapedArray):
        self.aval = aval


@dataclass(frozen=True, eq=False, slots=True)
class Primitive:
    """See the module's docstring for the signature of each rule."""

    name: str
    kind: Kind
    shape: Callable
    impl: Callable
    jvp: Any
    transpose: Any
    batch: Any
    taylor: Any = DERIVED
    code: Any = HOST
    linearize: Callable | None = None
    depends: Callable | None = None
    stage: Callable | None = None
    inline: Callable | None = None
    prune: Callable | None = None
    flops: Callable | None = None
    cuda: Any = SAME
    collective: bool = False
    """Names a mapped axis in its params: a surrounding vmap of that axis handles it even without batched arguments."""
    strong: bool = False
    """The result is not weakly typed even if all arguments are."""
    commutative: bool = False
    """Of two arguments, whose order makes no difference."""
    effect: bool = False
    """It does more than to compute its results: it is kept without them, done once, and in the order of the program."""
    recomputes: bool = False
    """Its program is there to be computed anew: once inlined, nothing in it is shared with equations outside."""

    on_values: bool = field(init=False)
    """impl works on values, under the current trace, instead of on buffers."""
    shares_memory: bool = field(init=False)
    """The result may be a view of an argument."""
    takes_numbers: bool = field(init=False)
    """On a GPU, literals are handed to the implementation as numbers: those of others are arrays."""
    plain: bool = field(init=False)
    """Elementwise, and weakly typed where all its arguments are: the case that the bottom interpreter makes fast."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "on_values", self.kind is Kind.CONTROL)
        object.__setattr__(self, "shares_memory", self.kind in (Kind.MOVEMENT, Kind.OPAQUE))
        if self.cuda is SAME:
            object.__setattr__(self, "cuda", HOST if hasattr(self.impl, "numpy_only") else self.impl)
        object.__setattr__(self, "takes_numbers", self.kind in (Kind.ELEMENTWISE, Kind.OPAQUE))
        object.__setattr__(self, "plain", self.kind is Kind.ELEMENTWISE and not self.strong)

    def bind(self, *args: Any, **params: Any) -> tuple:
        """Applies the operation under the current trace."""
        return current_trace.get().process(self, args, params)

    def abstract_eval(self, avals: tuple[ShapedArray, ...], params: dict) -> tuple[ShapedArray, ...]:
        """The types of the results, from the types of the arguments. Raises TypeError when they do not fit."""
        out = self.shape(*avals, **params)
        if self.on_values:
            return tuple(out)
        if type(out) is not tuple:
            out = (out,)
        weak = params.get("weak_type")
        if weak is None:
            flags = [a.weak_type for a in avals if not a.literal]
            weak = bool(flags) and all(flags) and not self.strong
        return tuple([shaped_array(a.shape, a.dtype, weak) for a in out])

    def __repr__(self) -> str:
        return self.name


def missing_rule(primitive: Primitive, transformation: str, slot: str, reason: str | None = None) -> MissingRuleError:
    """The error for a primitive that cannot be transformed."""
    return MissingRuleError(message(
        f"{transformation}: the operation {primitive.name} has no rule for it", reason, f"a rule in the slot {slot!r} of "
        f"{primitive.name}_p", "another formulation, fg.custom_jvp or fg.custom_vjp around the function that uses it"))
