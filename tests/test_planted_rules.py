"""Wrong rules, planted on purpose, are caught by the checks of the table of operations."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import test_operations as checks
import test_taylor
from operations import OPERATIONS, Operation, positive, real, row

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.control.checkpoint import checkpoint_linear_p, checkpoint_p
from funcgrad.control.cond import cond_p
from funcgrad.control.custom import custom_jvp_call_p, custom_vjp_linear_p
from funcgrad.control.loops import while_p
from funcgrad.control.scan import scan_p
from funcgrad.control.solve import linear_solve_p
from funcgrad.core.primitive import LINEAR, PIECEWISE_CONSTANT, Linear, LinearIn, Partials, Primitive
from funcgrad.core.trace import current
from funcgrad.core.types import Zero
from funcgrad.jit import jit_p
from funcgrad.ops import contraction, reduction, scatter, series, sorting, special, structural
from funcgrad.ops import elementwise as e

# ---------------------------------------------------------------- rows of the operations that carry programs


def _solve(a: Any, b: Any) -> Any:
    upper = np.triu(np.ones((2, 2)))
    return fg.lax.custom_linear_solve(lambda v: (upper * a) @ v, b, lambda _, v: _substituted(upper * a, v),
                                      lambda _, v: _substituted((upper * a).T[::-1, ::-1], v[::-1])[::-1])


def _substituted(a: Any, b: Any) -> Any:
    """The solution of an upper triangular system of two equations."""
    last = b[1] / a[1, 1]
    return fnp.stack([(b[0] - a[0, 1] * last) / a[0, 0], last])


@fg.custom_jvp
def _custom_sin(x: Any) -> Any:
    return fnp.sin(x)


_custom_sin.defjvp(lambda primals, tangents: (fnp.sin(*primals), fnp.cos(*primals) * tangents[0]))


@fg.custom_vjp
def _custom_product(x: Any, y: Any) -> Any:
    return x * fnp.sin(y)


_custom_product.defvjp(lambda x, y: (x * fnp.sin(y), (x, y)), lambda kept, ct: (
    ct * fnp.sin(kept[1]), ct * kept[0] * fnp.cos(kept[1])))

CONTROL = [
    row("linear neg", lambda x: -x, real(3, 4)),
    row("linear sub", lambda x, y: (x - y) - x * 3.0, real(3, 4), real(3, 4)),
    row("linear add", lambda x, y: x + y, real(3, 4), real(3, 4)),
    row("linear div", lambda x: x / 4.0, real(3, 4)),
    row("jit", lambda x, y: fg.jit(lambda a, b: fnp.sin(a) * b)(x, y), real(3, 4), real(3, 4)),
    row("checkpoint", lambda x, y: fg.checkpoint(lambda a, b: fnp.sin(a) * b)(x, y), real(3, 4), real(3, 4)),
    row("cond", lambda c, x, y: fg.lax.cond(c > 0, lambda a, b: fnp.sin(a) * b, lambda a, b: a * a - b, x, y),
        np.array(-0.005), real(3), real(3)),
    row("cond jit", lambda c, x, y: fg.jit(lambda c, *xs: fg.lax.cond(
        c > 0, lambda a, b: fnp.sin(a) * b, lambda a, b: a * a - b, *xs))(c, x, y), np.array(0.4), real(3), real(3)),
    row("scan", lambda a, c, xs: fg.lax.scan(lambda c, x: (fnp.sin(c) * x + a, c * x), c, xs), real(2), real(2),
        real(3, 2)),
    row("while", lambda x, y: fg.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, fnp.sin(s[1]) * y), (0, x))[1],
        real(3), real(3), modes=("fwd",)),
    row("linear solve", _solve, positive(2, 2), real(2)),
    row("custom_jvp", _custom_sin, real(3, 4)),
    row("custom_vjp", _custom_product, real(3, 4), real(3, 4)),
]
ROWS = {operation.name: operation for operation in [*OPERATIONS, *CONTROL]}


def derivatives(operation: Operation) -> None:
    checks.test_derivatives_equal_finite_differences(operation)


def batches(operation: Operation) -> None:
    checks.test_vmap_equals_a_loop(operation)


def coefficients(operation: Operation) -> None:
    test_taylor.test_taylor_and_reverse_mode_equal_nested_forward_mode(operation)


def transposes(operation: Operation) -> None:
    """<ct, f(x)> = <f^T(ct), x>, for a linear function."""
    out = operation.function(*operation.args)
    ct = np.cos(np.arange(out.size)).reshape(out.shape)
    pulled = fg.linear_transpose(operation.function, *operation.args)(ct)
    found = sum(np.vdot(p, x) for p, x in zip(pulled, operation.args, strict=True))
    np.testing.assert_allclose(found, np.vdot(ct, out), rtol=1e-12)


@contextmanager
def planted(primitive: Primitive, slot: str, rule: Any) -> Iterator[None]:
    """The primitive with another rule in a slot."""
    right = getattr(primitive, slot)
    object.__setattr__(primitive, slot, rule)
    try:
        yield
    finally:
        object.__setattr__(primitive, slot, right)


# ---------------------------------------------------------------- the mutations


@dataclass(frozen=True)
class Mutation:
    """``wrong`` makes the wrong rule from the right one."""

    what: str
    row: str
    primitive: Primitive
    slot: str
    wrong: Callable[[Any], Any]
    check: Callable[[Operation], None] = derivatives

    def __str__(self) -> str:
        return f"{self.primitive.name}.{self.slot}: {self.what}"


def becomes(rule: Any) -> Callable:
    return lambda right: rule


def partial(position: int, change: Callable) -> Callable:
    """One partial derivative changed: ``change(value)``."""

    def wrong(right: Partials) -> Partials:
        entries = list(right.entries)
        entry = entries[position]
        entries[position] = (lambda *args, **params: change(entry(*args, **params))) if callable(entry) else change(entry)
        return Partials(*entries)

    return wrong


def dropped(position: int) -> Callable:
    return lambda right: Partials(*[None if i == position else entry for i, entry in enumerate(right.entries)])


def swapped(right: Partials) -> Partials:
    return Partials(*right.entries[::-1])


def tangents(change: Callable) -> Callable:
    """A jvp rule, with the tangents of its results changed."""

    def wrong(right: Callable) -> Callable:
        def jvp(primals: tuple, dots: tuple, **params: Any) -> tuple:
            outs, out_dots = right(primals, dots, **params)
            return outs, tuple([t if type(t) is Zero else change(t) for t in out_dots])

        return jvp

    return wrong


def terms(change: Callable) -> Callable:
    """A Taylor rule, with the coefficients of its results changed from the second on."""

    def wrong(right: Callable) -> Callable:
        def taylor(primals: tuple, given: tuple, **params: Any) -> tuple:
            outs, found = right(primals, given, **params)
            return outs, tuple([(ts[0], *[t if type(t) is Zero else change(t) for t in ts[1:]]) for ts in found])

        return taylor

    return wrong


def cotangents(change: Callable) -> Callable:
    """A transpose rule, with the cotangents that it returns changed."""

    def wrong(right: Callable) -> Callable:
        def transpose(cts: tuple, *args: Any, **params: Any) -> tuple:
            return tuple([ct if ct is None or type(ct) is Zero else change(ct) for ct in right(cts, *args, **params)])

        return transpose

    return wrong


def with_params(**changes: Callable) -> Callable:
    """A rule that is given other parameters: ``change(parameter)``."""

    def wrong(right: Callable) -> Callable:
        def rule(*args: Any, **params: Any) -> Any:
            return right(*args, **{k: changes[k](v) if k in changes else v for k, v in params.items()})

        return rule

    return wrong


def out_axes(change: Callable) -> Callable:
    """A batch rule that is mistaken about where its results have the batch axis."""

    def wrong(right: Callable) -> Callable:
        def batch(*args: Any, **params: Any) -> tuple:
            outs, axes = right(*args, **params)
            return outs, tuple([change(d) for d in axes])

        return batch

    return wrong


def results(change: Callable) -> Callable:
    """A batch rule, with its results changed."""

    def wrong(right: Callable) -> Callable:
        def batch(*args: Any, **params: Any) -> tuple:
            outs, axes = right(*args, **params)
            return tuple([change(x) if x.dtype.kind == "f" else x for x in outs]), axes

        return batch

    return wrong


def linear_part(change: Callable) -> Callable:
    """A linearize rule, with its tangents changed."""

    def wrong(right: Callable) -> Callable:
        def linearize(trace: Any, primals: tuple, dots: tuple, **params: Any) -> tuple:
            with current(trace.linear):
                given = tuple([t if type(t) is Zero else change(t) for t in dots])
            return right(trace, primals, given, **params)

        return linearize

    return wrong


def negated(x: Any) -> Any:
    return -x


def doubled(x: Any) -> Any:
    return x * 2.0


def reversed_first(x: Any) -> Any:
    return structural.rev(x, (0,)) if x.shape else x


def ignores_axis(right: Callable) -> Callable:
    """Batches as if the axis were in front wherever it is."""
    return lambda axis, args, axes, **params: right(axis, args, tuple(None if d is None else 0 for d in axes), **params)


def forgets(position: int) -> Callable:
    """A jvp rule that takes the tangent of one argument for zero."""

    def wrong(right: Callable) -> Callable:
        def jvp(primals: tuple, dots: tuple, **params: Any) -> tuple:
            kept = [Zero(t.aval) if i == position else t for i, t in enumerate(dots)]
            return right(primals, tuple(kept), **params)

        return jvp

    return wrong


def only_first_product(right: Any) -> Callable:
    def jvp(primals: tuple, dots: tuple, **params: Any) -> tuple:
        x_dot = structural.instantiate(dots[0])
        return (contraction.dot_general_p.bind(*primals, **params),
                contraction.dot_general_p.bind(x_dot, primals[1], **params))

    return jvp


def sum_transposed_to_wrong_axes(cts: tuple, x: Any, axes: tuple) -> tuple:
    """Broadcasts along the axes counted from the other end."""
    ndim = x.aval.ndim
    other = tuple(ndim - 1 - a for a in axes)
    if tuple(n for i, n in enumerate(x.aval.shape) if i not in other) != cts[0].shape:
        ct = structural.reshape(structural.full(x.aval.shape, 1.0), x.aval.shape)
        return (ct * fnp.sum(cts[0]),)
    return (structural.broadcast_in_dim(cts[0], x.aval.shape, structural.kept_axes(ndim, other)),)


def slice_transposed_without_start(cts: tuple, x: Any, *, start_indices: tuple, limit_indices: tuple,
                                   strides: tuple) -> tuple:
    ct, = cts
    config = [(0, n - ((m - 1) * s + 1), s - 1) for s, n, m in zip(strides, x.aval.shape, ct.shape, strict=True)]
    return (structural.pad(ct, ct.dtype.type(0), config),)


def concatenate_transposed_in_other_order(right: Callable) -> Callable:
    def transpose(cts: tuple, *args: Any, dimension: int) -> tuple:
        return right((structural.rev(cts[0], (dimension,)),), *args, dimension=dimension)

    return transpose


def select_transposed_to_the_other_case(right: Callable) -> Callable:
    def transpose(cts: tuple, which: Any, *cases: Any) -> tuple:
        if which.dtype.kind != "b":
            return right(cts, which, *cases)
        return right(cts, e.bitwise_not(which), *cases)

    return transpose


def matrix_product_swapped(right: Callable) -> Callable:
    """The cotangent of a square operand, transposed."""

    def transpose(cts: tuple, *args: Any, **params: Any) -> tuple:
        return tuple([ct if ct is None or len(ct.shape) < 2 else
                      structural.reshape(structural.transpose(ct, range(len(ct.shape))[::-1]), ct.shape)
                      for ct in right(cts, *args, **params)])

    return transpose


def unmapped(position: int) -> Callable:
    """A batch rule that uses the first example's argument for all examples."""

    def wrong(right: Callable) -> Callable:
        def batch(axis: Any, args: tuple, axes: tuple, **params: Any) -> tuple:
            if axes[position] is None:
                return right(axis, args, axes, **params)
            first = structural.slice_in_dim(args[position], 0, 1, axis=axes[position])
            sizes = [axis.size if i == axes[position] else n for i, n in enumerate(first.shape)]
            shared = structural.broadcast_in_dim(first, sizes, range(len(sizes)))
            return right(axis, (*args[:position], shared, *args[position + 1:]), axes, **params)

        return batch

    return wrong


MUTATIONS = [
    Mutation("wrong sign", "cos", e.cos_p, "jvp", partial(0, negated)),
    Mutation("missing factor", "exp2", e.exp2_p, "jvp", becomes(Partials(lambda y, x: y))),
    Mutation("missing factor", "square", e.square_p, "jvp", becomes(Partials(lambda y, x: x))),
    Mutation("of the result instead of the argument", "log", e.log_p, "jvp", becomes(
        Partials(lambda y, x: e.reciprocal(y)))),
    Mutation("missing square", "tanh", e.tanh_p, "jvp", becomes(Partials(lambda y, x: 1 - y))),
    Mutation("of the argument instead of the result", "sqrt", e.sqrt_p, "jvp", becomes(Partials(lambda y, x: 0.5 / x))),
    Mutation("constant where it is not", "sin", e.sin_p, "jvp", becomes(PIECEWISE_CONSTANT)),
    Mutation("right in value, not differentiable again", "sin", e.sin_p, "jvp", partial(0, structural.stop_gradient)),
    Mutation("linear where it is not", "exp", e.exp_p, "jvp", becomes(LINEAR)),
    Mutation("swapped arguments", "mul", e.mul_p, "jvp", swapped),
    Mutation("wrong sign of the second", "div", e.div_p, "jvp", partial(1, negated)),
    Mutation("dropped second", "pow", e.pow_p, "jvp", dropped(1)),
    Mutation("swapped arguments", "max", e.max_p, "jvp", swapped),
    Mutation("wrong sign of the second", "sub", e.sub_p, "jvp", becomes(Partials(1, 1))),
    Mutation("swapped arguments", "atan2", e.atan2_p, "jvp", swapped),
    Mutation("missing factor", "erf", special.erf_p, "jvp", becomes(Partials(lambda y, x: e.exp(-x * x)))),
    Mutation("one too few", "integer_pow 3", e.integer_pow_p, "jvp", becomes(
        Partials(lambda z, x, *, y: y * e.integer_pow(x, y - 2)))),
    Mutation("shared even where one wins", "reduce_max (0,)", reduction.reduce_max_p, "jvp", becomes(
        lambda primals, dots, axes: (reduction.reduce_max_p.bind(*primals, axes=axes),
                                     (fnp.mean(dots[0], axis=axes),)))),
    Mutation("wrong factor", "reduce_prod (0, 1)", reduction.reduce_prod_p, "jvp", tangents(doubled)),
    Mutation("tangents not sorted along", "sort", sorting.sort_p, "jvp", tangents(reversed_first)),
    Mutation("the other direction", "cumprod False", reduction.cumprod_p, "jvp", with_params(reverse=lambda r: not r)),
    Mutation("dropped second product", "matmul", contraction.dot_general_p, "jvp", only_first_product),
    Mutation("updates forgotten", "scatter add", scatter.scatter_add_p, "jvp", forgets(2)),
    Mutation("operand forgotten", "scatter multiply", scatter.scatter_mul_p, "jvp", forgets(0)),

    Mutation("wrong sign of the partner", "sin", e.sin_p, "taylor", becomes(
        series.pair(lambda: e.sin_p, lambda: e.cos_p, 1, 1)), coefficients),
    Mutation("wrong sign", "tanh", e.tanh_p, "taylor", becomes(series.quadratic(lambda: e.tanh_p, 0, 1)), coefficients),
    Mutation("missing factor", "exp2", e.exp2_p, "taylor", becomes(series.quadratic(lambda: e.exp2_p, 1)), coefficients),
    Mutation("another root", "sqrt", e.sqrt_p, "taylor", becomes(
        series.arithmetic(lambda: e.sqrt_p, series.fixed_power(1 / 3))), coefficients),
    Mutation("the argument's logarithm forgotten", "pow", e.pow_p, "taylor", terms(structural.stop_gradient), coefficients),
    Mutation("a product", "div", e.div_p, "taylor", becomes(series.arithmetic(lambda: e.div_p, series.product)), coefficients),
    Mutation("linear where it is not", "abs", e.abs_p, "taylor", becomes(LINEAR), coefficients),
    Mutation("coefficients sorted too", "sort", sorting.sort_p, "taylor", becomes(LINEAR), coefficients),
    Mutation("linear in both at once", "matmul", contraction.dot_general_p, "taylor", becomes(LINEAR), coefficients),
    Mutation("wrong factor", "jit", jit_p, "taylor", terms(doubled), coefficients),
    Mutation("wrong factor", "scan", scan_p, "taylor", terms(doubled), coefficients),
    Mutation("wrong sign", "linear solve", linear_solve_p, "taylor", terms(negated), coefficients),

    Mutation("wrong sign", "linear neg", e.neg_p, "transpose", becomes(lambda cts, x: cts), transposes),
    Mutation("wrong argument", "linear sub", e.sub_p, "transpose", becomes(lambda cts, x, y: tuple(
        [cts[0] if isinstance(v, Linear) else None for v in (x, y)])), transposes),
    Mutation("wrong axes", "reduce_sum (0,)", structural.reduce_sum_p, "transpose", becomes(sum_transposed_to_wrong_axes)),
    Mutation("transposed once too often", "transpose", structural.transpose_p, "transpose", matrix_product_swapped),
    Mutation("reversed", "reshape", structural.reshape_p, "transpose", cotangents(reversed_first)),
    Mutation("not reversed back", "rev", structural.rev_p, "transpose", becomes(lambda cts, x, dimensions: cts)),
    Mutation("start forgotten", "slice", structural.slice_p, "transpose", becomes(slice_transposed_without_start)),
    Mutation("pieces in the other order", "concatenate", structural.concatenate_p, "transpose",
             concatenate_transposed_in_other_order),
    Mutation("the other case", "select", structural.select_n_p, "transpose", select_transposed_to_the_other_case),
    Mutation("not summed over what was repeated", "broadcast", structural.broadcast_in_dim_p, "transpose", becomes(
        lambda cts, x, *, shape, broadcast_dimensions: (cts[0][tuple(
            slice(None) if d in broadcast_dimensions else 0 for d in range(len(shape)))],))),
    Mutation("wrong factor", "pad", structural.pad_p, "transpose", cotangents(doubled)),
    Mutation("the same direction", "cumsum True", reduction.cumsum_p, "transpose", becomes(
        lambda cts, x, *, axis, reverse: reduction.cumsum_p.bind(*cts, axis=axis, reverse=reverse))),
    Mutation("transposed", "matmul", contraction.dot_general_p, "transpose", matrix_product_swapped),
    Mutation("overwritten instead of added", "gather rows", scatter.gather_p, "transpose", lambda right: (
        lambda cts, x, i, *, dimension_numbers, mode, slice_sizes, **params: (scatter.scatter_p.bind(
            structural.zeros(x.aval), i, cts[0], dimension_numbers=scatter.as_scatter(dimension_numbers), mode=mode,
            unique_indices=False)[0], None))),
    Mutation("overwritten elements keep theirs", "scatter set", scatter.scatter_p, "transpose", lambda right: (
        lambda cts, x, *rest, **params: (cts[0] if isinstance(x, Linear) else None, *right(cts, x, *rest, **params)[1:]))),
    Mutation("linear in one argument only", "linear add", e.add_p, "transpose", becomes(LinearIn(0)), transposes),
    Mutation("inverted", "linear div", e.div_p, "transpose", becomes(
        lambda cts, x, y: (cts[0] * y, None)), transposes),

    Mutation("wrong axis", "reduce_sum (0,)", structural.reduce_sum_p, "batch", becomes(
        lambda axis, args, axes_in, axes: (structural.reduce_sum_p.bind(*args, axes=axes), (0,))), batches),
    Mutation("wrong axis of the result", "transpose", structural.transpose_p, "batch", out_axes(lambda d: 2), batches),
    Mutation("axis taken for the first", "reshape", structural.reshape_p, "batch", ignores_axis, batches),
    Mutation("axis not counted", "rev", structural.rev_p, "batch", becomes(lambda axis, args, axes, dimensions: (
        structural.rev_p.bind(*args, dimensions=dimensions), axes)), batches),
    Mutation("axis not counted", "cumsum False", reduction.cumsum_p, "batch", becomes(
        lambda mapped, args, axes, *, axis, reverse: (
            reduction.cumsum_p.bind(*args, axis=axis, reverse=reverse), axes)), batches),
    Mutation("wrong axis of the result", "matmul", contraction.dot_general_p, "batch", out_axes(lambda d: 1 - min(d, 1)),
             batches),
    Mutation("first example's argument", "concatenate", structural.concatenate_p, "batch", unmapped(1), batches),
    Mutation("first example's indices", "gather rows", scatter.gather_p, "batch", unmapped(1), batches),
    Mutation("first example's updates", "scatter add", scatter.scatter_add_p, "batch", unmapped(2), batches),
    Mutation("first example's condition", "select", structural.select_n_p, "batch", unmapped(0), batches),
    Mutation("sorted along the batch", "sort", sorting.sort_p, "batch", becomes(
        lambda axis, args, axes, *, dimension, num_keys: (sorting.sort_p.bind(
            *[structural.moveaxis(x, d, 0) for x, d in zip(args, axes, strict=True)], dimension=0, num_keys=num_keys),
            (0,) * len(args))), batches),

    Mutation("wrong factor", "jit", jit_p, "jvp", tangents(doubled)),
    Mutation("wrong factor", "jit", jit_p, "linearize", linear_part(doubled)),
    Mutation("wrong sign", "jit", jit_p, "transpose", cotangents(negated)),
    Mutation("wrong factor", "jit", jit_p, "batch", results(doubled), batches),
    Mutation("wrong factor", "checkpoint", checkpoint_p, "jvp", tangents(doubled)),
    Mutation("wrong sign", "checkpoint", checkpoint_linear_p, "transpose", cotangents(negated)),
    Mutation("wrong axis of the result", "checkpoint", checkpoint_p, "batch", out_axes(lambda d: 1), batches),
    Mutation("wrong factor", "cond jit", cond_p, "jvp", tangents(doubled)),
    Mutation("wrong sign", "cond jit", cond_p, "transpose", cotangents(negated)),
    Mutation("first example's choice", "cond", cond_p, "batch", unmapped(0), batches),
    Mutation("wrong factor", "scan", scan_p, "jvp", tangents(doubled)),
    Mutation("the loop forwards", "scan", scan_p, "transpose", with_params(reverse=lambda r: not r)),
    Mutation("wrong sign", "scan", scan_p, "transpose", cotangents(negated)),
    Mutation("wrong axis of the result", "scan", scan_p, "batch", out_axes(lambda d: 0), batches),
    Mutation("wrong factor", "while", while_p, "jvp", tangents(doubled)),
    Mutation("first example's state", "while", while_p, "batch", unmapped(0), batches),
    Mutation("not transposed", "linear solve", linear_solve_p, "transpose", lambda right: (
        lambda cts, *args, **params: right(cts, *args, **{**params, "transpose_solve": params["solve"]}))),
    Mutation("wrong sign", "linear solve", linear_solve_p, "jvp", tangents(negated)),
    Mutation("wrong factor", "custom_jvp", custom_jvp_call_p, "jvp", tangents(doubled)),
    Mutation("wrong sign", "custom_vjp", custom_vjp_linear_p, "transpose", cotangents(negated)),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_a_wrong_rule_is_caught(mutation):
    operation = ROWS[mutation.row]
    right = getattr(mutation.primitive, mutation.slot)
    with planted(mutation.primitive, mutation.slot, mutation.wrong(right)):
        with pytest.raises((AssertionError, TypeError)):
            mutation.check(operation)
    assert getattr(mutation.primitive, mutation.slot) is right
    mutation.check(operation)


def test_the_rule_comes_back_after_an_error():
    right = e.sin_p.jvp
    with pytest.raises(KeyError), planted(e.sin_p, "jvp", LINEAR):
        raise KeyError
    assert e.sin_p.jvp is right
