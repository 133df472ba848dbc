"""Derivative rules written by users: ``custom_jvp`` and ``custom_vjp``.

In: a function, and a rule for its derivative. Out: a function that computes as before and differentiates by the rule,
under every transformation. While it is only evaluated or batched, the rule does not run.

    @fg.custom_jvp                          @fg.custom_vjp
    def f(x): ...                           def f(x): ...
    @f.defjvp                               f.defvjp(fwd, bwd)   # fwd(x) -> (y, residuals)
    def f_jvp(primals, tangents): ...                            # bwd(residuals, y_bar) -> (x_bar,)
"""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import dtypes
from funcgrad.core.array import aval_of, describe
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.primitive import Kind, Linear, Primitive
from funcgrad.core.stage import StageTrace, as_value, eval_jaxpr, stage, typed
from funcgrad.core.types import ShapedArray, Zero, tangent_aval
from funcgrad.errors import NotLinearError, message
from funcgrad.ops.structural import instantiate, moveaxis, sum_over
from funcgrad.transforms.arguments import argument_names, flat_results, flatten_args, function_name
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.jvp import JVP, Forward
from funcgrad.transforms.linearize import LinearizeTrace
from funcgrad.transforms.taylor import taylor_rule
from funcgrad.transforms.transpose import transpose_flat
from funcgrad.transforms.vmap import Axis, to_front, vmap_flat
from funcgrad.tree import keystr, tree_flatten, tree_flatten_with_path, tree_leaves, tree_structure, tree_unflatten

# ---------------------------------------------------------------- the two decorators


class _Custom:
    """What both decorators share: which arguments are differentiated, and the tree of the results."""

    def __init__(self, fun: Callable, nondiff_argnums: int | Sequence[int] = (), nondiff_argnames: str | Sequence[str] = ()):
        check_callable(fun, type(self).__name__)
        functools.update_wrapper(self, fun)
        self.fun = fun
        argnums = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
        try:
            self._signature = inspect.signature(fun)
            self._count = len(self._signature.parameters)
        except ValueError:  # some builtins do not tell
            self._signature, self._count = None, -1
        names = (nondiff_argnames,) if isinstance(nondiff_argnames, str) else tuple(nondiff_argnames)
        self.nondiff_argnums = tuple({*argnums, *[self._position(name) for name in names]})

    def _position(self, name: str) -> int:
        """Where the function has the parameter. Raises ValueError if it has none of that name."""
        parameters = [] if self._signature is None else list(self._signature.parameters)
        if name not in parameters:
            raise ValueError(message(f"{type(self).__name__}: {function_name(self.fun)} has no parameter of this name",
                                     repr(name), ", ".join(parameters)))
        return parameters.index(name)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def _arguments(self, args: tuple, kwargs: dict) -> tuple[tuple, tuple[int, ...]]:
        """All arguments by position, and the positions that are not differentiated."""
        if kwargs or len(args) != self._count and self._signature is not None:
            if self._signature is None:
                raise TypeError(message(f"{function_name(self.fun)}: it does not tell its parameters, so it takes no keywords"))
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            if bound.kwargs:
                raise TypeError(message(f"{function_name(self.fun)}: keyword-only arguments have no place in a custom rule",
                                        ", ".join(bound.kwargs), "arguments that can be passed by position"))
            args = bound.args
        return args, tuple(sorted(i % len(args) for i in self.nondiff_argnums)) if args else ()

    def _flatten(self, args: tuple, nondiff: tuple[int, ...]) -> tuple[list[Any], Any]:
        """The differentiated arguments as flat values, and their tree."""
        return flatten_args(self.fun, tuple([x for i, x in enumerate(args) if i not in nondiff]), type(self).__name__)


class custom_jvp(_Custom):
    """A function with its own forward-mode rule, from which reverse mode follows by transposition.

    ``defjvp(rule)``: ``rule(primals, tangents) -> (result, tangent of the result)``; the tangents are a tuple like the
    primals, and the tangent of the result is linear in them. With ``nondiff_argnums`` the rule gets those arguments first:
    ``rule(*nondiff, primals, tangents)``. With ``symbolic_zeros=True`` zero tangents are given as ``Zero``.

    >>> import funcgrad as fg
    >>> f = fg.custom_jvp(lambda x: 2.0 * x ** 2)
    >>> f.defjvp(lambda primals, tangents: (f(*primals), 4.0 * primals[0] * tangents[0]))  # doctest: +ELLIPSIS
    <function ...>
    >>> float(fg.grad(f)(3.0))
    12.0
    """

    rule: Callable | None = None
    symbolic_zeros = False

    def defjvp(self, rule: Callable, symbolic_zeros: bool = False) -> Callable:
        """Sets the rule, and returns it, so that it can be a decorator."""
        self.rule, self.symbolic_zeros = rule, symbolic_zeros
        return rule

    def defjvps(self, *rules: Callable | None) -> None:
        """Sets one rule an argument: ``rule(tangent, result, *primals) -> tangent of the result``, or None for zero."""
        if self.nondiff_argnums:
            raise TypeError("defjvps cannot be used together with nondiff_argnums; use defjvp")

        def rule(primals: tuple, tangents: tuple) -> tuple:
            out = self(*primals)
            terms = [r(t, out, *primals) for r, t in zip(rules, tangents, strict=True) if r is not None]
            zero = tree_unflatten(tree_structure(out), [instantiate(Zero(aval_of(x))) for x in tree_leaves(out)])
            leaves = [functools.reduce(lambda a, b: a + b, xs)
                      for xs in zip(*[tree_leaves(t) for t in (terms or [zero])], strict=True)]
            return out, tree_unflatten(tree_structure(out), leaves)

        self.defjvp(rule)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.rule is None:
            raise AttributeError(message(f"custom_jvp: {function_name(self.fun)} has no rule", None, None,
                                         f"{function_name(self.fun)}.defjvp(rule)"))
        args, nondiff = self._arguments(args, kwargs)
        leaves, tree = self._flatten(args, nondiff)
        call = _JvpCall(self, args, nondiff, tree)
        with quiet():
            outs = custom_jvp_call_p.bind(*leaves, jaxpr=call.primal, jvp=call.jvp, captured=0)
        return tree_unflatten(call.out_tree, outs)


class custom_vjp(_Custom):
    """A function with its own reverse-mode rule.

    ``defvjp(fwd, bwd)``: ``fwd(*args) -> (result, residuals)`` and ``bwd(residuals, cotangent) -> tuple`` with one
    cotangent (a tree like it, or None for zero) for each argument. With ``nondiff_argnums``, fwd takes the arguments in
    their order and bwd gets those first: ``bwd(*nondiff, residuals, cotangent)``. With ``symbolic_zeros=True``
    fwd gets each leaf as a ``CustomVJPPrimal`` and bwd may get ``Zero`` cotangents. Forward mode works when bwd is linear
    in the cotangent: it is transposed.

    >>> import funcgrad as fg
    >>> f = fg.custom_vjp(lambda x: 2.0 * x ** 2)
    >>> f.defvjp(lambda x: (2.0 * x ** 2, x), lambda x, ct: (4.0 * x * ct,))
    >>> float(fg.grad(f)(3.0))
    12.0
    """

    fwd: Callable | None = None
    bwd: Callable | None = None
    symbolic_zeros = False

    def defvjp(self, fwd: Callable, bwd: Callable, symbolic_zeros: bool = False) -> None:
        """Sets the forward and the backward rule."""
        self.fwd, self.bwd, self.symbolic_zeros = fwd, bwd, symbolic_zeros

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.fwd is None or self.bwd is None:
            raise AttributeError(message(f"custom_vjp: {function_name(self.fun)} has no rule", None, None,
                                         f"{function_name(self.fun)}.defvjp(fwd, bwd)"))
        args, nondiff = self._arguments(args, kwargs)
        leaves, tree = self._flatten(args, nondiff)
        call = _VjpCall(self, args, nondiff, tree)
        with quiet():
            outs = custom_vjp_call_p.bind(*leaves, jaxpr=call.primal, fwd=call.fwd, captured=0)
        return tree_unflatten(call.out_tree, outs)


class CustomVJPPrimal:
    """A leaf as fwd sees it under ``symbolic_zeros``: its value, and whether anything is differentiated by it."""

    __slots__ = ("value", "perturbed")

    def __init__(self, value: Any, perturbed: bool):
        self.value, self.perturbed = value, perturbed


# ---------------------------------------------------------------- one call: trees become flat


class _Call:
    """One call of a custom function: its rules as functions of flat values.

    It lives as long as the derivative may be asked for, so it does not hold the differentiated arguments: only what
    the rule saves stays in memory.
    """

    def __init__(self, custom: Any, args: tuple, nondiff: tuple[int, ...], tree: Any):
        self.custom, self.nondiff, self.tree = custom, nondiff, tree
        self.name = function_name(custom.fun)
        self.args = [args[i] if i in nondiff else None for i in range(len(args))]
        self.positions = [i for i in range(len(args)) if i not in nondiff]
        self.nondiff_args = tuple([args[i] for i in nondiff])
        self.out_tree: Any = None
        self.out_types: list[ShapedArray] | None = None

    def arguments(self, leaves: Sequence[Any]) -> list[Any]:
        """The call's arguments in their order, from flat values."""
        full = list(self.args)
        for i, x in zip(self.positions, tree_unflatten(self.tree, leaves), strict=True):
            full[i] = x
        return full

    def primal(self, *leaves: Any) -> list[Any]:
        outs, self.out_tree = flat_results(self.custom.fun, "", self.name, self.custom.fun(*self.arguments(leaves)))
        self.out_types = [typed(aval_of(x)) for x in outs]
        return outs

    def check_result(self, rule: str, result: Any, outs: Sequence[Any], tree: Any) -> None:
        """The result of a rule has the tree and the types of the function's result, where those are known."""
        if self.out_tree is not None and tree != self.out_tree:
            raise TypeError(message(f"{rule} of {self.name}: the result has another structure than {self.name}'s", tree,
                                    self.out_tree))
        paths = [keystr(path) for path, _ in tree_flatten_with_path(result)[0]]
        for path, x, expected in zip(paths, outs, self.out_types or [], strict=False):
            if (x.shape, x.dtype) != (expected.shape, expected.dtype):
                raise TypeError(message(f"{rule} of {self.name}: its result{path} has another type than {self.name}'s",
                                        describe(x), expected))
        self.out_tree = tree


class _JvpCall(_Call):
    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        if not self.custom.symbolic_zeros:
            tangents = [instantiate(t) for t in tangents]
        result = self.custom.rule(*self.nondiff_args, tree_unflatten(self.tree, primals),
                                  tree_unflatten(self.tree, tangents))
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(message(f"custom_jvp: the rule of {self.name} must return a pair", describe(result),
                                    "(result, tangent of the result)"))
        outs, tree = flat_results(self.custom.rule, "", "custom_jvp", result[0])
        self.check_result("custom_jvp: the rule", result[0], outs, tree)
        dots, dots_tree = tree_flatten(result[1])
        if dots_tree != tree:
            raise TypeError(message(f"custom_jvp: the rule of {self.name} returns a tangent of another structure than its "
                                    "result", dots_tree, tree))
        checked = []
        for (path, out), dot in zip(tree_flatten_with_path(result[0])[0], dots, strict=True):
            expected = tangent_aval(typed(aval_of(out)))
            if not isinstance(dot, Zero) and getattr(dot, "dtype", None) != dtypes.float0:
                dot = as_value(dot)
            if expected.dtype == dtypes.float0:
                dot = Zero(expected)
            elif not isinstance(dot, Zero) and (dot.shape != expected.shape or dot.dtype != expected.dtype):
                raise TypeError(message(f"custom_jvp: the rule of {self.name} returns a tangent of the wrong type"
                                        f"{' for result' + keystr(path) if path else ''}", describe(dot), expected))
            checked.append(dot)
        return outs, checked


class _VjpCall(_Call):
    def fwd(self, leaves: Sequence[Any], perturbed: Sequence[bool]) -> tuple[list[Any], list[Any], _Backward]:
        """Runs fwd: its flat result, the flat residuals, and the backward rule that takes them."""
        given = [CustomVJPPrimal(x, p) for x, p in zip(leaves, perturbed, strict=True)] \
            if self.custom.symbolic_zeros else leaves
        result = self.custom.fwd(*self.arguments(given))
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(message(f"custom_vjp: the fwd rule of {self.name} must return a pair", describe(result),
                                    "(result, residuals)"))
        outs, tree = flat_results(self.custom.fwd, "", "custom_vjp", result[0])
        self.check_result("custom_vjp: the fwd rule", result[0], outs, tree)
        residuals, residual_tree = flat_results(self.custom.fwd, "keep Python values in nondiff_argnums", "custom_vjp",
                                                result[1])
        return outs, residuals, _Backward(self, residual_tree, len(residuals), tuple([aval_of(x) for x in outs]),
                                          tuple([aval_of(x) for x in leaves]))


class _Backward:
    """bwd as a function of flat residuals and cotangents. Its results are checked against the arguments' types."""

    def __init__(self, call: _VjpCall, tree: Any, count: int, out_avals: tuple, in_avals: tuple):
        self.call, self.tree, self.count = call, tree, count
        self.out_avals, self.in_avals = out_avals, in_avals
        self.__name__, self.function = function_name(call.custom.bwd), call.name

    def __call__(self, residuals: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        call = self.call
        if not call.custom.symbolic_zeros:
            cotangents = [instantiate(ct) for ct in cotangents]
        result = call.custom.bwd(*call.nondiff_args, tree_unflatten(self.tree, residuals),
                                 tree_unflatten(call.out_tree, cotangents))
        count = len(call.positions)
        if not isinstance(result, (tuple, list)) or len(result) != count:
            raise TypeError(message(f"custom_vjp: the bwd rule of {call.name} must return a tuple with one cotangent for "
                                    f"each of {count} arguments", describe(result), None,
                                    "(ct,)" if count == 1 else "None for an argument without a gradient"))
        names = argument_names(call.custom.fun, len(call.args))
        flat: list[Any] = []
        shapes = tree_unflatten(call.tree, [_Slot(a) for a in self.in_avals])
        for position, ct, slots in zip(call.positions, result, shapes, strict=True):
            flat += _argument_cotangents(call.name, names[position], ct, slots)
        return flat


class _Slot:
    """The place of a leaf, with its type."""

    __slots__ = ("aval",)

    def __init__(self, aval: ShapedArray):
        self.aval = aval


def _argument_cotangents(function: str, argument: str, ct: Any, slots: Any) -> list[Any]:
    """What bwd returned for one argument, flat and checked; None where it is zero."""
    expected = [(path, slot.aval) for path, slot in tree_flatten_with_path(slots)[0]]
    if ct is None:
        return [None] * len(expected)
    leaves, tree = tree_flatten(ct, is_leaf=lambda x: x is None)
    if len(leaves) != len(expected) or None not in leaves and tree != tree_structure(slots):
        raise TypeError(message(f"custom_vjp: the bwd rule of {function} returns a cotangent of another structure than its "
                                f"argument {argument}", tree, tree_structure(slots)))
    checked = []
    for (path, aval), x in zip(expected, leaves, strict=True):
        if x is None or isinstance(x, Zero) or not dtypes.is_inexact(aval.dtype):
            checked.append(None)
            continue
        x = as_value(x)
        if x.shape != aval.shape or x.dtype != aval.dtype:
            raise TypeError(message(f"custom_vjp: the bwd rule of {function} returns a cotangent of the wrong type for its "
                                    f"argument {argument}{keystr(path)}", describe(x), str(typed(aval))))
        checked.append(x)
    return checked


# ---------------------------------------------------------------- the primitives


def _run(program: Any, args: Sequence[Any]) -> list[Any]:
    """The function itself: Python code, or its jaxpr once it has been staged."""
    return eval_jaxpr(program, args) if isinstance(program, Jaxpr) else program(*args)


def _shape(*avals: ShapedArray, jaxpr: Any, **rules: Any) -> tuple[ShapedArray, ...]:
    return (jaxpr if isinstance(jaxpr, Jaxpr) else stage(jaxpr, avals)[0]).out_avals


def _function(*avals: ShapedArray, jaxpr: Any, **rules: Any) -> Jaxpr | None:
    """At run time no rule matters."""
    return jaxpr if isinstance(jaxpr, Jaxpr) else None


def _stage(primitive: Primitive, trace: StageTrace, args: tuple, params: dict) -> tuple:
    """Replaces the function by its jaxpr; traced values it closes over become leading operands."""
    if isinstance(params["jaxpr"], Jaxpr):
        return trace.record(primitive, args, params)
    jaxpr, captured = stage(params["jaxpr"], [typed(aval_of(x)) for x in args], primitive.name, primitive.name)
    return trace.record(primitive, (*captured, *args), {**params, "jaxpr": jaxpr, "captured": len(captured)})


def _check_captured(what: str, tangents: Sequence[Any]) -> None:
    if any(type(t) is not Zero for t in tangents):
        raise TypeError(message(f"{what}: the function closes over a value that is being differentiated",
                                f"a captured value of type {next(t for t in tangents if type(t) is not Zero).aval}",
                                "every differentiated value among the arguments", "an explicit argument, or closure_convert"))


def _batched(function: Callable, axis: Axis, axes: Sequence[int | None]) -> Callable:
    """A flat function for a batch; every result has the batch axis in front."""

    def batched(*args: Any) -> list[Any]:
        outs, places = vmap_flat(function, axis, args, axes)
        return [to_front(out, d, axis.size) for out, d in zip(outs, places, strict=True)]

    return batched


def custom_jvp_call_jvp(primals: tuple, tangents: tuple, *, jaxpr: Any, jvp: Callable, captured: int) -> tuple:
    _check_captured("custom_jvp", tangents[:captured])
    outs, dots = jvp(primals[captured:], tangents[captured:])
    return tuple(outs), tuple(dots)


def custom_jvp_call_batch(axis: Axis, args: tuple, axes: tuple, *, jaxpr: Any, jvp: Callable, captured: int) -> tuple:
    def batched_jvp(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        count = len(primals)
        given = [t for t in tangents if type(t) is not Zero]
        places = [d for t, d in zip(tangents, axes[captured:], strict=True) if type(t) is not Zero]

        def one(*values: Any) -> list[Any]:
            rest = iter(values[count:])
            dots = [Zero(tangent_aval(aval_of(x))) if type(t) is Zero else next(rest)
                    for x, t in zip(values[:count], tangents, strict=True)]
            outs, out_dots = jvp(values[:count], dots)
            return [*outs, *[instantiate(t) for t in out_dots]]

        flat = _batched(one, axis, [*axes[captured:], *places])(*primals, *given)
        half = len(flat) // 2
        return flat[:half], flat[half:]

    outs = custom_jvp_call_p.bind(*args, jaxpr=_batched(functools.partial(_call, jaxpr), axis, axes), jvp=batched_jvp,
                                  captured=captured)
    return outs, (0,) * len(outs)


def _call(program: Any, *args: Any) -> list[Any]:
    return _run(program, args)


def custom_jvp_call_transpose(cotangents: tuple, *args: Any, jaxpr: Any, jvp: Callable, captured: int) -> tuple:
    """For a linear function with a rule of its own, used on tangents: the transpose is that of the function."""
    results = iter(transpose_flat(lambda *xs: _run(jaxpr, xs), args, cotangents))
    return tuple([next(results) if isinstance(x, Linear) else None for x in args])


custom_jvp_call_p = Primitive(
    "custom_jvp_call", Kind.CONTROL, _shape, impl=lambda *args, jaxpr, jvp, captured: _run(jaxpr, args),
    jvp=custom_jvp_call_jvp, transpose=custom_jvp_call_transpose, batch=custom_jvp_call_batch,
    stage=lambda trace, args, params: _stage(custom_jvp_call_p, trace, args, params), inline=_function)


def custom_vjp_call_jvp(primals: tuple, tangents: tuple, *, jaxpr: Any, fwd: Callable, captured: int) -> tuple:
    """Forward mode: bwd is linear in the cotangents, so its transpose maps tangents to tangents."""
    _check_captured("custom_vjp", tangents[:captured])
    tangents = tangents[captured:]
    outs, residuals, bwd = fwd(primals[captured:], [type(t) is not Zero for t in tangents])
    return tuple(outs), tuple(_transposed_bwd(residuals, tangents, bwd, [type(t) is not Zero for t in tangents]))


def _transposed_bwd(residuals: Sequence[Any], tangents: Sequence[Any], bwd: Any, mask: Sequence[bool]) -> list[Any]:
    avals = [tangent_aval(typed(a)) for a in bwd.out_avals]
    inexact = [a.dtype != dtypes.float0 for a in avals]

    def backwards(*cts: Any) -> list[Any]:
        given = iter(cts)
        results = bwd(residuals, [next(given) if on else Zero(a) for on, a in zip(inexact, avals, strict=True)])
        return [instantiate(Zero(a)) if ct is None else ct
                for ct, on, a in zip(results, mask, bwd.in_avals, strict=True) if on]

    try:
        dots = iter(transpose_flat(backwards, [Linear(a) for a, on in zip(avals, inexact, strict=True) if on],
                                   [t for t, on in zip(tangents, mask, strict=True) if on]))
    except NotLinearError as error:
        raise NotLinearError(message(
            f"custom_vjp: forward mode through {bwd.function}, whose bwd rule is not linear in the cotangent",
            str(error).split("found:")[-1].splitlines()[0].strip(), "a bwd rule that is linear: forward mode transposes it",
            f"fg.custom_jvp for {bwd.function}, or reverse mode alone (grad, vjp, jacrev)")) from error
    found = [next(dots) if on else None for on in inexact]
    return [Zero(a) if t is None else t for t, a in zip(found, avals, strict=True)]


def custom_vjp_call_linearize(trace: LinearizeTrace, primals: tuple, tangents: tuple, *, jaxpr: Any, fwd: Callable,
                              captured: int) -> tuple:
    _check_captured("custom_vjp", tangents[:captured])
    tangents = tangents[captured:]
    mask = tuple([type(t) is not Zero for t in tangents])
    outs, residuals, bwd = fwd(primals[captured:], mask)
    dots = trace.linear.record(custom_vjp_linear_p, (*residuals, *[t for t in tangents if type(t) is not Zero]),
                               {"bwd": bwd, "mask": mask})
    return tuple(outs), tuple([t if dtypes.is_inexact(t.dtype) else Zero(t.aval) for t in dots])


def custom_vjp_call_batch(axis: Axis, args: tuple, axes: tuple, *, jaxpr: Any, fwd: Callable, captured: int) -> tuple:
    def batched_fwd(primals: Sequence[Any], perturbed: Sequence[bool]) -> tuple:
        rules: list[Any] = []

        def one(*values: Any) -> list[Any]:
            outs, residuals, bwd = fwd(values, perturbed)
            rules.append((len(outs), bwd))
            return [*outs, *residuals]

        flat = _batched(one, axis, axes[captured:])(*primals)
        count, bwd = rules[-1]
        return flat[:count], flat[count:], _BatchedBackward(
            bwd, axis, tuple(axes[captured:]), tuple([aval_of(x) for x in flat[:count]]),
            tuple([aval_of(x) for x in primals]))

    outs = custom_vjp_call_p.bind(*args, jaxpr=_batched(functools.partial(_call, jaxpr), axis, axes), fwd=batched_fwd,
                                  captured=captured)
    return outs, (0,) * len(outs)


class _BatchedBackward:
    """A backward rule for a batch. An argument shared by all examples gets the sum of their cotangents."""

    def __init__(self, bwd: Any, axis: Axis, axes: tuple[int | None, ...], out_avals: tuple, in_avals: tuple):
        self.bwd, self.axis, self.axes = bwd, axis, axes
        self.out_avals, self.in_avals = out_avals, in_avals
        self.__name__, self.function = bwd.__name__, bwd.function

    def __call__(self, residuals: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
        given = [ct for ct in cotangents if type(ct) is not Zero]
        present: list[bool] = []

        def one(*values: Any) -> list[Any]:
            rest = iter(values[len(residuals):])
            cts = [Zero(tangent_aval(typed(a))) if type(ct) is Zero else next(rest)
                   for ct, a in zip(cotangents, self.bwd.out_avals, strict=True)]
            results = self.bwd(values[:len(residuals)], cts)
            present[:] = [ct is not None for ct in results]
            return [ct for ct in results if ct is not None]

        axes = [0] * (len(residuals) + len(given))
        outs, places = vmap_flat(one, self.axis, [*residuals, *given], axes)
        stacked = iter([to_front(out, d, self.axis.size) for out, d in zip(outs, places, strict=True)])
        return [None if not there else sum_over(next(stacked), (0,)) if d is None else moveaxis(next(stacked), 0, d)
                for there, d in zip(present, self.axes, strict=True)]


custom_vjp_call_p = Primitive(
    "custom_vjp_call", Kind.CONTROL, _shape, impl=lambda *args, jaxpr, fwd, captured: _run(jaxpr, args),
    jvp=custom_vjp_call_jvp, linearize=custom_vjp_call_linearize,
    transpose=lambda cotangents, *args, jaxpr, fwd, captured:
        custom_jvp_call_transpose(cotangents, *args, jaxpr=jaxpr, jvp=fwd, captured=captured),
    batch=custom_vjp_call_batch, stage=lambda trace, args, params: _stage(custom_vjp_call_p, trace, args, params),
    inline=_function)


# The linear part of a custom_vjp: residuals and tangents in, tangents out; its transpose is the user's bwd.


def _linear_part(*args: Any, bwd: Any, mask: tuple[bool, ...]) -> list[Any]:
    count = len(args) - sum(mask)
    given = iter(args[count:])
    tangents = [next(given) if on else Zero(tangent_aval(typed(a))) for on, a in zip(mask, bwd.in_avals, strict=True)]
    return [instantiate(t) for t in _transposed_bwd(args[:count], tangents, bwd, mask)]


def custom_vjp_linear_forward(mode: Forward, primals: tuple, dots: tuple, **params: Any) -> tuple:
    outs, out_dots = mode.flat(functools.partial(_linear_part, **params), primals, dots)
    return tuple(outs), tuple(out_dots)


def custom_vjp_linear_transpose(cotangents: tuple, *args: Any, bwd: Any, mask: tuple[bool, ...]) -> tuple:
    count = len(args) - sum(mask)
    if any(isinstance(x, Linear) for x in args[:count]):
        raise TypeError("custom_vjp: the residuals depend on the value that is transposed")
    results = bwd(args[:count], cotangents)
    chosen = [ct for ct, on in zip(results, mask, strict=True) if on]
    return (*[None] * count, *[ct if isinstance(x, Linear) else None for ct, x in zip(chosen, args[count:], strict=True)])


def custom_vjp_linear_batch(axis: Axis, args: tuple, axes: tuple, *, bwd: Any, mask: tuple[bool, ...]) -> tuple:
    count = len(args) - sum(mask)
    values = [to_front(x, d, axis.size) for x, d in zip(args, axes, strict=True)]
    in_avals = tuple([a.update(shape=(axis.size, *a.shape)) for a in bwd.in_avals])
    out_avals = tuple([a.update(shape=(axis.size, *a.shape)) for a in bwd.out_avals])
    batched = _BatchedBackward(bwd, axis, (0,) * len(mask), out_avals, in_avals)
    assert count <= len(values)
    outs = custom_vjp_linear_p.bind(*values, bwd=batched, mask=mask)
    return outs, (0,) * len(outs)


def custom_vjp_linear_inline(*avals: ShapedArray, bwd: Any, mask: tuple[bool, ...]) -> Jaxpr | None:
    """The transposed bwd as a program, unless it closes over values of an outer transformation."""
    with quiet():
        jaxpr, captured = stage(functools.partial(_linear_part, bwd=bwd, mask=mask), list(map(typed, avals)), bwd.__name__)
    return None if captured else jaxpr


custom_vjp_linear_p = Primitive(
    "custom_vjp_linear", Kind.CONTROL,
    shape=lambda *avals, bwd, mask: tuple([tangent_aval(typed(a)) for a in bwd.out_avals]),
    impl=_linear_part, jvp=functools.partial(custom_vjp_linear_forward, JVP),
    taylor=taylor_rule(custom_vjp_linear_forward), transpose=custom_vjp_linear_transpose, batch=custom_vjp_linear_batch,
    inline=custom_vjp_linear_inline)
