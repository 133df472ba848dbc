"""cond, switch, while_loop, fori_loop, scan, map, associative_scan, custom_root, custom_linear_solve."""
from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from comparing import without_kernels

import funcgrad.numpy as fnp
from funcgrad.control.cond import cond, switch
from funcgrad.control.custom import custom_jvp
from funcgrad.control.loops import fori_loop, while_loop
from funcgrad.control.scan import associative_scan, scan
from funcgrad.control.scan import map as lax_map
from funcgrad.control.solve import custom_linear_solve, custom_root
from funcgrad.core.check import check_jaxpr
from funcgrad.core.primitive import LINEAR, Kind, Primitive
from funcgrad.core.trace import EVAL, current_trace
from funcgrad.jit import jit
from funcgrad.ops.elementwise import exp, maximum, sin, sqrt, tanh
from funcgrad.ops.structural import concatenate, convert_element_type, reshape, slice_in_dim, sum_over
from funcgrad.transforms.batching import vmap
from funcgrad.transforms.derivatives import (
    grad,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linear_transpose,
    linearize,
    value_and_grad,
    vjp,
)
from funcgrad.transforms.staging import ShapeDtypeStruct, make_jaxpr
from funcgrad.tree import tree_flatten, tree_map

XS = np.linspace(0.2, 1.1, 5)
BATCH = np.array([0.3, 0.8, 1.7])


def total(x):
    return sum_over(x, range(len(x.shape)))


def differences(f, args, argnum, step=1e-5):
    """Central differences of a scalar function in one argument."""
    x = np.asarray(args[argnum], dtype=float)
    result = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        values = []
        for sign in (1, -1):
            moved = x.copy()
            moved[i] += sign * step
            values.append(float(f(*args[:argnum], moved if x.shape else float(moved), *args[argnum + 1:])))
        result[i] = (values[0] - values[1]) / (2 * step)
    return result


def close(a, b, rtol=1e-6, atol=1e-9):
    a, b = (tree_flatten(t, is_leaf=lambda x: isinstance(x, list))[0] for t in (a, b))  # a list is an array here
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=rtol, atol=atol)


def check(f, *args, reverse=True, order=2):
    """f under every transformation: eager = staged, forward = reverse = finite differences, again for its derivatives.

    Kernels are made for the function, its derivative and its batch.
    """
    assert current_trace.get() is EVAL
    want = f(*args)
    close(jit(f)(*args), want)
    check_jaxpr(make_jaxpr(f)(*args))
    for i in [i for i, x in enumerate(args) if np.asarray(x).dtype.kind == "f"]:
        def f_i(x, i=i):
            return f(*args[:i], x, *args[i + 1:])
        with without_kernels():
            slope, batch, each = check_argument(f_i, args[i], reverse, order)
        close(jit(grad(f_i) if reverse else jacfwd(f_i))(args[i]), slope, 1e-5, 1e-7)
        close(jit(vmap(f_i))(batch), each)
    assert current_trace.get() is EVAL


def check_argument(f, x, reverse, order):
    """The derivative by differences, a batch of arguments, and the values for it."""
    slope = differences(f, (x,), 0)
    close(jit(f)(x), f(x))
    close(jacfwd(f)(x), slope, 1e-5, 1e-7)
    close(jit(jacfwd(f))(x), slope, 1e-5, 1e-7)
    direction = np.cos(np.arange(np.size(x), dtype=float)).reshape(np.shape(x))
    direction = direction if np.shape(x) else float(direction)
    along = jvp(f, (x,), (direction,))[1]
    close(linearize(f, x)[1](direction), along)
    close(jvp(jit(f), (x,), (direction,))[1], along)
    close(linearize(jit(f), x)[1](direction), along)
    check_jaxpr(make_jaxpr(jacfwd(f))(x))
    if reverse:
        close(grad(f)(x), slope, 1e-5, 1e-7)
        close(jit(grad(f))(x), slope, 1e-5, 1e-7)
        close(grad(jit(f))(x), slope, 1e-5, 1e-7)
        check_jaxpr(make_jaxpr(grad(f))(x))
    batch = np.stack([np.asarray(x), np.asarray(x) * 0.9, np.asarray(x) * 1.2])
    each = np.stack([np.asarray(f(row if row.shape else float(row))) for row in batch])
    close(vmap(f)(batch), each)
    close(jit(vmap(f))(batch), each)
    close(vmap(jit(f))(batch), each)
    check_jaxpr(make_jaxpr(vmap(f))(batch))
    derivative = grad(f) if reverse else jacfwd(f)
    close(vmap(derivative)(batch), np.stack([np.asarray(derivative(row)) for row in batch]))
    if order > 1:
        check_second(lambda x: total(sin(derivative(x))), x, reverse)
    return slope, batch, each


def check_second(g, x, reverse):
    slope = differences(g, (x,), 0)
    close(jacfwd(g)(x), slope, 1e-4, 1e-6)
    if reverse:
        close(grad(g)(x), slope, 1e-4, 1e-6)
        close(jit(grad(g))(x), slope, 1e-4, 1e-6)
        close(grad(jit(g))(x), slope, 1e-4, 1e-6)
    batch = np.stack([np.asarray(x), np.asarray(x) * 0.9])
    close(vmap(jacfwd(g))(batch), np.stack([np.asarray(jacfwd(g)(row)) for row in batch]))


_calls: list[str] = []
counted_p = Primitive("counted", Kind.OPAQUE, lambda x, name: x, lambda xp, x, name: (_calls.append(name), x)[1], LINEAR,
                      lambda cts, x, name: cts, lambda axis, args, axes, name: (counted_p.bind(*args, name=name), axes))


def counted(x, name):
    """x; notes that it was computed."""
    return counted_p.bind(x, name=name)[0]


@pytest.fixture(autouse=True)
def fresh_calls():
    _calls.clear()


# ---------------------------------------------------------------- cond and switch


def test_cond_values_and_derivatives():
    def f(x, y):
        return cond(x > y, lambda a, b: sin(a) * b, lambda a, b: a * a * exp(b), x, y)

    close(f(0.3, 0.7), 0.09 * np.exp(0.7))
    close(f(0.9, 0.7), np.sin(0.9) * 0.7)
    check(f, 0.3, 0.7)
    check(f, 0.9, 0.7)


def test_cond_of_a_traced_predicate_inside_jit():
    def f(p, x, y):
        return cond(p, lambda a, b: sin(a) * b, lambda a, b: a * y + 0.0 * b, x, y)

    for p in (True, False):
        check(lambda x, y, p=p: jit(f)(p, x, y), 0.3, 0.7)
        check(lambda x, y, p=p: f(p, x, y), 0.3, 0.7)
    check(lambda x, p: f(p > 0.5, x, 0.7), 0.3, 0.6)


def test_only_the_chosen_branch_runs():
    def f(p, x):
        return cond(p, lambda x: counted(x, "true") * 2.0, lambda x: counted(x, "false") * 3.0, x)

    for run in (f, jit(f), lambda p, x: value_and_grad(lambda x: f(p, x))(x),
                jit(lambda p, x: value_and_grad(lambda x: f(p, x))(x)), lambda p, x: value_and_grad(lambda x: jit(f)(p, x))(x),
                lambda p, x: jvp(lambda x: f(p, x), (x,), (1.0,)), lambda p, x: vmap(lambda x: f(p, x))(np.array([x]))):
        _calls.clear()
        close(tree_flatten(run(True, 1.0))[0][-1], 2.0)
        assert set(_calls) == {"true"}
        _calls.clear()
        close(tree_flatten(run(False, 1.0))[0][-1], 3.0)
        assert set(_calls) == {"false"}


def test_cond_closures_over_traced_values():
    def f(w, x):
        return cond(x > 0.5, lambda: w * w * x, lambda: sin(w))

    check(f, 1.3, 0.9)
    check(f, 1.3, 0.1)
    check(lambda w, x: jit(f)(w, x), 1.3, 0.9)
    check(lambda w: total(vmap(lambda x: f(w, x))(BATCH)), 1.3)


def test_cond_trees_operand_keyword_and_numbers_as_predicates():
    tree = {"a": 1.0, "b": (2.0, np.arange(3.0))}
    out = cond(1, lambda t: tree_map(lambda x: x * 2.0, t), lambda t: t, operand=tree)
    close(out, {"a": 2.0, "b": (4.0, 2 * np.arange(3.0))})
    assert isinstance(out["b"], tuple)
    close(cond(0.0, lambda: 1.0, lambda: 2.0), 2.0)
    close(cond(np.bool_(True), lambda x: x, lambda x: x, None) is None, True)


def test_weak_types_are_joined():
    x = np.float32(2.0)
    for out in (cond(True, lambda: 1.0, lambda: x), cond(False, lambda: 1.0, lambda: x)):
        assert out.dtype == np.float32 and not out.weak_type
    assert cond(True, lambda: 1, lambda: 2.0).dtype == np.float64


def test_cond_errors():
    with pytest.raises(TypeError, match="pred must be a boolean or number without axes"):
        cond(np.array([True, False]), lambda: 1, lambda: 2)
    with pytest.raises(TypeError, match="pred must be"):
        cond("yes", lambda: 1, lambda: 2)
    with pytest.raises(TypeError, match=r"(?s)different types.*result\['a'\]: float64\[3\] from false_fun.*float64\[2\]"):
        cond(True, lambda: {"a": np.ones(2)}, lambda: {"a": np.ones(3)})
    with pytest.raises(TypeError, match=r"(?s)different types.*int32\[\] from false_fun.*float64\[\] from true_fun"):
        cond(True, lambda: np.ones(()), lambda: np.int32(1))
    with pytest.raises(TypeError, match="different structures"):
        cond(True, lambda: (1.0, 2.0), lambda: 1.0)
    with pytest.raises(TypeError, match="index must be an integer"):
        switch(1.0, [lambda: 1, lambda: 2])
    with pytest.raises(ValueError, match="no branches"):
        switch(1, [])
    with pytest.raises(TypeError, match="cond: an argument of f is not an array or a number"):
        def f(x):
            return x
        cond(True, f, f, "text")
    with pytest.raises(ZeroDivisionError):
        grad(lambda x: cond(x > 0, lambda x: x, lambda x: 1 / 0, x))(1.0)
    assert current_trace.get() is EVAL


def test_switch_clamps_and_differentiates():
    branches = [lambda x: x, lambda x: sin(x), lambda x: x * x * x]
    for index, want in ((-5, 0.4), (0, 0.4), (1, np.sin(0.4)), (2, 0.4 ** 3), (9, 0.4 ** 3)):
        close(switch(index, branches, 0.4), want)
        close(jit(lambda i, x: switch(i, branches, x))(index, 0.4), want)
        check(lambda x, i=index: switch(i, branches, x), 0.4)
        check(lambda x, i=index: jit(lambda i, x: switch(i, branches, x))(i, x), 0.4)
    indices = np.array([0, 1, 2, 7, -1])
    each = [float(switch(int(i), branches, x)) for i, x in zip(indices, XS, strict=True)]
    close(vmap(lambda i, x: switch(i, branches, x))(indices, XS), each)
    close(jit(vmap(lambda i, x: switch(i, branches, x)))(indices, XS), each)
    close(vmap(lambda i: switch(i, branches, 0.4))(indices), [float(switch(int(i), branches, 0.4)) for i in indices])
    close(grad(lambda xs: total(vmap(lambda i, x: switch(i, branches, x))(indices, xs)))(XS),
          [1.0, np.cos(XS[1]), 3 * XS[2] ** 2, 3 * XS[3] ** 2, 1.0])
    close(switch(np.uint8(1), branches, 0.4), np.sin(0.4))
    assert switch(3, [lambda x: x + 1], 1.0) == 2.0


def test_branches_share_residual_slots():
    def f(i, x):
        return switch(i, [lambda x: sin(sin(x)), lambda x: exp(x) * x, lambda x: x], x)

    jaxpr = make_jaxpr(lambda i, x: grad(lambda x: f(i, x))(x))(1, 0.3)
    check_jaxpr(jaxpr)
    first = next(e for e in jaxpr.equations if e.primitive.name == "cond")
    assert len(first.outs) <= 3


def test_batched_predicate_with_results_that_do_not_depend_on_the_batch():
    close(vmap(lambda p: cond(p, lambda: np.ones(2), lambda: np.zeros(2)))(np.array([True, False])), [[1, 1], [0, 0]])
    close(vmap(lambda p, x: cond(p, lambda x: (x, 1.0), lambda x: (2 * x, 2.0), x), in_axes=(0, None))(
        np.array([True, False]), 3.0), ([3.0, 6.0], [1.0, 2.0]))


# ---------------------------------------------------------------- scan


def plain_scan(f, carry, xs):
    ys = []
    for x in xs:
        carry, y = f(carry, x)
        ys.append(y)
    return carry, np.array(ys)


def test_scan_is_a_loop():
    out = scan(lambda c, x: (c * x + 1.0, c - x), 0.5, XS)
    close(out, plain_scan(lambda c, x: (c * x + 1.0, c - x), 0.5, XS))
    last, ys = scan(lambda c, x: (c * x + 1.0, c - x), 0.5, XS, reverse=True)
    want = plain_scan(lambda c, x: (c * x + 1.0, c - x), 0.5, XS[::-1])
    close((last, ys), (want[0], want[1][::-1]))
    close(scan(lambda c, _: (c * 2, c), 1, None, length=4), (16, [1, 2, 4, 8]))
    close(scan(lambda c, x: (c, None), 1.0, XS)[0], 1.0)
    assert scan(lambda c, x: (c, None), 1.0, XS)[1] is None
    close(scan(lambda c, x: (None, x * 2), None, XS), (None, XS * 2))


def test_scan_derivatives_with_a_closed_over_weight():
    def f(w, c, xs):
        def body(c, x):
            c = sin(c * w) + x
            return c, c * x

        c, ys = scan(body, c, xs)
        return c + total(ys)

    check(f, 0.7, 0.3, XS)
    close(hessian(f)(0.7, 0.3, XS), grad(grad(f))(0.7, 0.3, XS))
    third = grad(grad(grad(f)))(0.7, 0.3, XS)
    close(third, differences(lambda w: grad(grad(f))(w, 0.3, XS), (0.7,), 0), 1e-5)
    close(jacfwd(jacrev(jacfwd(f)))(0.7, 0.3, XS), third)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_of_trees_reversed(reverse):
    def f(p, xs):
        def body(c, x):
            h = tanh(c["h"] * p["w"] + x["u"])
            return {"h": h, "n": c["n"] + 1}, (h * x["v"], c["n"])

        c, (ys, ns) = scan(body, {"h": p["h"], "n": 0}, xs, reverse=reverse)
        return total(ys * ys) + total(c["h"]) + 0.0 * c["n"]

    w, h, u, v = np.array([0.3, -0.5]), np.array([0.1, 0.9]), np.outer(XS, [1.0, 2.0]), XS
    check(lambda w, h, u, v: f({"w": w, "h": h}, {"u": u, "v": v}), w, h, u, v, order=1)
    check(lambda w: f({"w": w, "h": h}, {"u": u, "v": v}), w)


def test_scan_where_tangents_appear_in_the_carry_step_by_step():
    def f(x):  # the tangent enters a and reaches b and c one and two steps later
        def body(carry, _):
            a, b, c = carry
            return (a * x, a + b, b * c), None

        a, b, c = scan(body, (1.0, 0.0, 1.0), None, length=4)[0]
        return b + c

    check(f, 1.3)

    def g(x):  # the initial tangent is lost after the first step
        return total(scan(lambda c, y: (y, c * y), x, XS)[1])

    check(g, 0.4)


def test_scan_of_length_zero_and_one():
    empty = np.zeros((0, 2))
    close(scan(lambda c, x: (c + x, c), np.ones(2), empty), (np.ones(2), np.zeros((0, 2))))
    for n in (0, 1):
        def f(w, c, n=n):
            return total(scan(lambda c, x: (c * w + x, None), c, np.ones((n, 2)))[0])

        check(f, 0.3, np.array([1.0, 2.0]))
    close(grad(lambda xs: total(scan(lambda c, x: (c, x), 1.0, xs)[1]))(empty), empty)


def test_scan_with_integer_and_boolean_carries():
    def f(x):
        def body(c, y):
            n, flip, s = c
            return (n + 1, ~flip, cond(flip, lambda: s * x, lambda: s + y * x * convert_element_type(n, np.float64))), n

        (n, _, s), ns = scan(body, (0, True, 1.0), XS)
        return s + 0.0 * n

    check(f, 0.8)
    n, flip = scan(lambda c, _: ((c[0] + 1, ~c[1]), None), (0, True), None, length=3)[0]
    assert (int(n), bool(flip)) == (3, False)


def test_vmap_of_each_kind_of_argument():
    def f(w, c, xs):
        return scan(lambda c, x: (c * w + x, c * x), c, xs)

    w, c, xs = np.array([0.1, 0.2, 0.3]), np.array([1.0, 2.0, 3.0]), np.outer([1.0, 2.0, 3.0], XS)
    for axes in ((0, None, None), (None, 0, None), (None, None, 0), (0, 0, 0), (0, None, 1)):
        args = [w if axes[0] == 0 else 0.1, c if axes[1] == 0 else 1.0,
                xs if axes[2] == 0 else xs.T if axes[2] == 1 else XS]
        rows = [[a if d is None else np.take(a, i, d) for a, d in zip(args, axes, strict=True)] for i in range(3)]
        want = [f(*row) for row in rows]
        for g in (vmap(f, in_axes=axes), jit(vmap(f, in_axes=axes)), vmap(jit(f), in_axes=axes)):
            last, ys = g(*args)
            close(last, [float(a) for a, _ in want])
            close(ys, np.stack([np.asarray(b) for _, b in want]))
    close(vmap(vmap(lambda c, x: scan(lambda c, x: (c + x, None), c, x)[0], (0, None)), (None, 0))(c, xs),
          c[None] + xs.sum(1)[:, None])


def test_nested_scans_with_conditions():
    def f(w, xs):
        def outer(c, x):
            def inner(s, i):
                return cond(s > 1.0, lambda s: s * w * x, lambda s: s + x * i, s), None

            c = scan(inner, c, XS)[0]
            return tanh(c), c

        c, ys = scan(outer, w, xs)
        return c + total(ys)

    check(f, 0.9, XS)


def test_residuals_that_do_not_change_are_not_stacked():
    weight = np.eye(3) * 0.5

    def f(w, xs):
        def body(c, x):
            return total_rows(sin(w) * c) + x, None

        return total(scan(body, np.ones(3), xs)[0])

    def total_rows(m):
        return sum_over(m, (1,))

    xs = np.ones((7, 3))
    check(f, weight, xs, order=1)
    jaxpr = make_jaxpr(grad(f))(weight, xs)
    first = next(e for e in jaxpr.equations if e.primitive.name == "scan")
    # sin(w) * c needs c of each step, broadcast; sin(w) and cos(w) are needed once.
    assert sum(v.aval.shape == (7, 3, 3) for v in first.outs) <= 1


def test_gradient_of_a_long_scan_is_linear_in_its_length(monkeypatch):
    def f(w, xs):
        return scan(lambda c, x: (sin(c * w) + x, None), 0.0, xs)[0]

    process, counts = type(EVAL).process, {}
    for n in (500, 4000):
        xs = np.linspace(0, 1, n)
        seen = []
        monkeypatch.setattr(type(EVAL), "process", lambda self, *args, seen=seen: (seen.append(1), process(self, *args))[1])
        grad(f, 1)(0.5, xs)
        counts[n] = len(seen)
    assert counts[4000] <= 8 * counts[500]
    assert counts[4000] <= 20 * 4000


def test_scan_body_is_staged_once():
    def body(c, x):
        _calls.append("traced")
        return c + x, None

    scan(body, np.float64(0), np.ones(100))
    assert len(_calls) <= 2


def test_scan_errors():
    with pytest.raises(TypeError, match=r"(?s)scan body's carry changes type.*carry\['h'\]: float64\[3\] before.*float32\[3\]"):
        scan(lambda c, x: ({"h": convert_element_type(c["h"], np.float32)}, None), {"h": np.ones(3)}, XS)
    with pytest.raises(TypeError, match=r"(?s)carry changes type.*carry: float64\[3\].*float64\[2,3\]"):
        scan(lambda c, x: (c + np.ones((2, 3)), None), np.ones(3), XS)
    with pytest.raises(TypeError, match="scan body's carry changes structure"):
        scan(lambda c, x: ((c, c), None), 1.0, XS)
    with pytest.raises(TypeError, match="must return a pair"):
        scan(lambda c, x: c + x, 1.0, XS)
    with pytest.raises(ValueError, match=r"(?s)different sizes along axis 0.*x\[0\] has size 5, x\[1\] has size 4"):
        scan(lambda c, x: (c, None), 1.0, (XS, XS[:4]))
    with pytest.raises(ValueError, match=r"(?s)no axis to loop over.*x\['k'\]"):
        scan(lambda c, x: (c, None), 1.0, {"k": 1.0})
    with pytest.raises(ValueError, match="length is not the size"):
        scan(lambda c, x: (c, None), 1.0, XS, length=3)
    with pytest.raises(ValueError, match="number of steps is unknown"):
        scan(lambda c, x: (c, None), 1.0)
    with pytest.raises(TypeError, match="scan: expected a function|scan"):
        scan(3, 1.0, XS)
    with pytest.raises(TypeError, match="scan: a traced value was used as a Python condition"):
        scan(lambda c, x: (c if c > 0 else x, None), 1.0, XS)
    with pytest.raises(ZeroDivisionError):
        grad(lambda w: scan(lambda c, x: (1 / 0, None), w, XS)[0])(1.0)
    assert current_trace.get() is EVAL


def test_weak_carries_are_promoted():
    out = scan(lambda c, x: (c + x, None), 0.0, np.ones(3, np.float32))[0]
    assert out.dtype == np.float32
    out = scan(lambda c, x: (c + x, None), 0, np.ones(3))[0]
    assert out.dtype == np.float64
    out = while_loop(lambda c: c < 3, lambda c: c + np.ones((), np.float32), 0)
    assert out.dtype == np.float32 and float(out) == 3.0
    out = fori_loop(0, 3, lambda i, c: c + i, np.float32(0))
    assert out.dtype == np.float32
    assert grad(lambda x: scan(lambda c, x: (c * x, None), 1.0, x)[0])(np.ones(3, np.float32)).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "complex128", "float16"])
def test_other_dtypes(dtype):
    x = (np.arange(1, 4) / 4).astype(dtype)
    out, ys = scan(lambda c, x: (c * x, c + x), np.ones((), dtype), x)
    assert out.dtype == dtype and ys.dtype == dtype
    close(out, np.prod(x), 1e-2)
    _, pullback = vjp(lambda x: scan(lambda c, x: (c * x, None), np.ones((), dtype), x)[0], x)
    ct, = pullback(np.ones((), dtype))
    assert ct.dtype == dtype
    close(ct, np.prod(x) / x, 1e-2)


def test_scans_leave_no_reference_cycles_to_large_arrays():
    class Big(np.ndarray):
        pass

    x = np.ones(1000).view(Big)
    reference = weakref.ref(x)
    gc.disable()
    try:
        out = grad(lambda w, x=x: scan(lambda c, _: (c * w, None), 1.0, None, length=3)[0])(2.0)
        assert float(out) == 12.0
        del x
    finally:
        gc.enable()
    gc.collect()
    assert reference() is None


# ---------------------------------------------------------------- map and associative_scan


def test_map():
    close(lax_map(lambda x: x * x, XS), XS ** 2)
    close(lax_map(lambda t: t[0] * t[1], (XS, XS)), XS ** 2)
    for size in (1, 2, 5, 7):
        close(lax_map(lambda x: {"y": x * x}, XS, batch_size=size), {"y": XS ** 2})
        check(lambda xs, w, size=size: total(lax_map(lambda x: sin(x * w), xs, batch_size=size)), XS, 0.7, order=1)
    close(lax_map(lambda x: x * x, np.zeros(0), batch_size=3), np.zeros(0))
    check(lambda xs, w: total(lax_map(lambda x: sin(x * w), xs)), XS, 0.7)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan(n, reverse):
    x = np.sin(np.arange(1.0, n + 1))
    order = x[::-1] if reverse else x
    want = np.cumsum(order)
    close(associative_scan(lambda a, b: a + b, x, reverse=reverse), want[::-1] if reverse else want)
    matrix = np.outer(x, [1.0, 2.0])
    close(associative_scan(lambda a, b: a * b, matrix.T, reverse=reverse, axis=-1),
          (np.cumprod(matrix[::-1], 0)[::-1] if reverse else np.cumprod(matrix, 0)).T)

    def affine(first, second):  # x -> m x + b, not commutative
        return first[0] * second[0], second[0] * first[1] + second[1]

    m, b = associative_scan(affine, (x, 2 * x), reverse=reverse)
    pairs = [(order[0], 2 * order[0])]
    for v in order[1:]:
        pairs.append(affine(pairs[-1], (v, 2 * v)))
    want_m, want_b = np.array(pairs).T
    close((m, b), (want_m[::-1], want_b[::-1]) if reverse else (want_m, want_b))


def test_associative_scan_transforms_and_errors():
    check(lambda x: total(sin(associative_scan(lambda a, b: a * b, x))), XS)
    out = np.asarray(associative_scan(lambda a, b: maximum(a, b), np.array([-0.0, -1.0, -0.0])))
    assert np.signbit(out).all()
    assert associative_scan(lambda a, b: a + b, np.zeros((0, 2))).shape == (0, 2)
    with pytest.raises(ValueError, match="different sizes along the axis"):
        associative_scan(lambda a, b: a, (np.ones(2), np.ones(3)))
    with pytest.raises(ValueError, match="does not have the axis"):
        associative_scan(lambda a, b: a, np.ones(2), axis=1)


# ---------------------------------------------------------------- while_loop and fori_loop


def test_while_loop_values():
    assert int(while_loop(lambda x: x < 100, lambda x: x * 2, 1)) == 128
    assert int(while_loop(lambda x: x < 0, lambda x: x * 2, 1)) == 1
    out = while_loop(lambda s: s["i"] < 4, lambda s: {"i": s["i"] + 1, "x": (s["x"][0] * 2.0,)}, {"i": 0, "x": (1.0,)})
    close(out, {"i": 4, "x": (16.0,)})


def test_while_loop_forward_mode_and_batches():
    def f(x, w):
        return while_loop(lambda s: s[0] < 9.0, lambda s: (s[0] * 2.0 + w, sin(s[1] * s[0]) + x), (x, w))[1]

    check(f, 0.6, 0.3, reverse=False)
    check(lambda x, w: jit(f)(x, w), 0.6, 0.3, reverse=False)


def test_while_loop_where_tangents_spread():
    def f(x):
        def body(s):
            i, a, b, c = s
            return i + 1, a * x, b + a, c * b

        return while_loop(lambda s: s[0] < 4, body, (0, 1.0, 0.5, 1.0))[3]

    check(f, 1.2, reverse=False)


def test_while_loop_batched_condition():
    def steps(limit, x):
        return while_loop(lambda s: s[0] < limit, lambda s: (s[0] + x, s[1] + 1), (0.0, 0))

    limits, xs = np.array([1.0, 5.0, -1.0]), np.array([0.3, 0.7, 1.0])
    for axes in ((0, 0), (0, None), (None, 0)):
        args = [limits if axes[0] == 0 else 2.0, xs if axes[1] == 0 else 0.4]
        want = [steps(*[float(a[i]) if d == 0 else a for a, d in zip(args, axes, strict=True)]) for i in range(3)]
        for g in (vmap(steps, axes), jit(vmap(steps, axes)), vmap(jit(steps), axes)):
            close(g(*args), ([float(a) for a, _ in want], [int(n) for _, n in want]))
    check_jaxpr(make_jaxpr(vmap(steps))(limits, xs))
    # the condition is shared: the batch runs as one
    shared = vmap(lambda x: while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), (0, 1.0)))
    close(shared(xs), ([3, 3, 3], xs ** 3))
    close(jacfwd(lambda v: vmap(steps)(v, xs)[0])(limits), np.zeros((3, 3)))
    close(jvp(lambda xs: vmap(steps)(limits, xs)[0], (xs,), (np.ones(3),))[1], [4.0, 8.0, 0.0])
    close(vmap(lambda x: while_loop(lambda s: s[0] < 3, lambda s: (s[0] + x, s[1] + x), (0.0, np.zeros(2))))(xs)[1],
          np.outer([3.3, 3.5, 3.0], [1, 1]))


def test_reverse_mode_through_while_raises():
    def f(x):
        return while_loop(lambda s: s < 10.0, lambda s: s * x, x)

    for g in (grad(f), jit(grad(f)), grad(jit(f)), grad(grad(f)), vmap(grad(f))):
        with pytest.raises(ValueError, match="(?s)reverse mode through while_loop.*use scan or fori_loop with static trip count"):
            g(np.full(2, 2.0) if g.__name__.startswith("vmap") else 2.0)
    assert current_trace.get() is EVAL
    close(grad(lambda x: x * while_loop(lambda i: i < 10, lambda i: i + 3, 0))(2.0), 12.0)
    close(jacfwd(jacfwd(f))(1.9), differences(lambda x: jacfwd(f)(x), (1.9,), 0), 1e-5)


def test_while_errors():
    with pytest.raises(TypeError, match=r"(?s)while_loop body's carry changes type.*carry\[1\]: float64\[\] before.*float64\[2\]"):
        while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, np.ones(2)), (0, np.ones(())))
    with pytest.raises(TypeError, match="carry changes structure"):
        while_loop(lambda s: s < 3, lambda s: (s, s), 0)
    with pytest.raises(TypeError, match=r"(?s)must return a boolean scalar.*bool\[2\]"):
        while_loop(lambda s: s < 3, lambda s: s, np.ones(2))
    with pytest.raises(TypeError, match="must return a boolean scalar"):
        while_loop(lambda s: (s < 3,), lambda s: s, 1.0)
    with pytest.raises(TypeError, match="must return a boolean scalar"):
        while_loop(lambda s: s, lambda s: s, 1.0)
    with pytest.raises(ZeroDivisionError):
        while_loop(lambda s: s < 3, lambda s: 1 / 0, 0)
    assert current_trace.get() is EVAL


def test_fori_loop():
    assert int(fori_loop(0, 5, lambda i, c: c + i, 0)) == 10
    assert int(fori_loop(5, 0, lambda i, c: c + i, 7)) == 7
    assert int(fori_loop(-3, np.int32(2), lambda i, c: c + i, 0)) == -5
    assert int(jit(lambda n: fori_loop(0, n, lambda i, c: c + i, 0))(5)) == 10
    close(fori_loop(2, 5, lambda i, t: {"p": t["p"] * i}, {"p": 1.0}), {"p": 24.0})

    def f(x, w):
        return fori_loop(1, 5, lambda i, c: sin(c * w) + x * i, x)

    check(f, 0.3, 0.8)

    def dynamic(n, x, w):
        return fori_loop(1, n, lambda i, c: sin(c * w) + x * i, x)

    check(lambda x, w: jit(dynamic)(5, x, w), 0.3, 0.8, reverse=False)
    with pytest.raises(ValueError, match="reverse mode through while_loop"):
        grad(lambda x: jit(dynamic)(5, x, 0.8))(0.3)
    close(vmap(lambda n: dynamic(n, 0.3, 0.8))(np.array([1, 3, 5])), [float(dynamic(n, 0.3, 0.8)) for n in (1, 3, 5)])
    close(fori_loop(0, 4, lambda i, c: c * 2, 1, unroll=2), 16)


def test_fori_errors():
    with pytest.raises(TypeError, match="lower must be an integer scalar"):
        fori_loop(0.0, 3, lambda i, c: c, 0)
    with pytest.raises(TypeError, match="bounds have different types"):
        fori_loop(np.int32(0), np.int64(3), lambda i, c: c, 0)
    with pytest.raises(ValueError, match="unroll needs bounds"):
        jit(lambda n: fori_loop(0, n, lambda i, c: c, 0, unroll=2))(3)
    with pytest.raises(TypeError, match="carry changes type"):
        fori_loop(0, 3, lambda i, c: np.ones(2), np.ones(3))


# ---------------------------------------------------------------- programs of several kinds, with numbers from jax 0.10


def nested(w, xs):
    def outer(c, x):
        def inner(s, i):
            return cond(s > 1.0, lambda s: s * w * x, lambda s: s + x * i, s), s

        c, ys = scan(inner, c, xs)
        first = sum_over(slice_in_dim(ys, 0, 1), (0,))
        k = fori_loop(0, 3, lambda i, k: sin(k * w) + first * i, c)
        return tanh(k), c

    c, ys = scan(outer, w, xs, reverse=True)
    return c + total(ys)


def test_nested_loops_agree_with_jax():
    xs = np.linspace(0.2, 1.1, 5)
    for g in (nested, jit(nested)):
        close(g(0.9, xs), 5.457597669012297, 1e-12)
        close(grad(g)(0.9, xs), 10.41998856011558, 1e-12)
        close(jacfwd(g)(0.9, xs), 10.41998856011558, 1e-12)
        close(grad(grad(g))(0.9, xs), 30.611893673911045, 1e-12)
        close(jacfwd(grad(g))(0.9, xs), 30.611893673911045, 1e-12)
        close(grad(g, 1)(0.9, xs), [5.400919635963436, 1.9405685502854153, 4.399253726556585, 3.62523149769705,
                                    4.956011936269786], 1e-12)
        close(vmap(grad(g), (0, None))(np.array([0.9, 0.4, 1.3]), xs),
              [10.41998856011558, 5.696505248153471, 44.572128165701244], 1e-12)
        close(jit(vmap(jit(grad(g)), (0, None)))(np.array([0.9, 0.4, 1.3]), xs),
              [10.41998856011558, 5.696505248153471, 44.572128165701244], 1e-12)


def test_switch_in_a_batched_while_loop_agrees_with_jax():
    def f(x, n):
        def body(s):
            i, v = s
            return i + 1, switch(i, [sin, exp, lambda v: v * x], v)

        return while_loop(lambda s: s[0] < n, body, (0, x))[1] * x

    x, n = np.array([0.3, 0.5, 0.7]), np.array([1, 2, 6])
    for g in (f, jit(f)):
        close(vmap(jacfwd(g))(x, n), [0.5821211533990214, 2.3238584087717795, 2.5311654558479817], 1e-12)
        close(vmap(jacfwd(jacfwd(g)))(x, n), [1.8220169162528101, 3.06963064895165, 16.54327700022934], 1e-12)
        close(jacfwd(vmap(g), 0)(x, n), np.diag([0.5821211533990214, 2.3238584087717795, 2.5311654558479817]), 1e-12)


# ---------------------------------------------------------------- linear functions and custom rules with loops inside


def test_linear_transpose_of_control_flow():
    def f(x):
        return scan(lambda c, w: (c * w + x, c * w), x, XS)[1]

    matrix = np.asarray(jacfwd(f)(1.0))
    ct, = linear_transpose(f, ShapeDtypeStruct((), np.float64))(np.ones(5))
    close(ct, matrix.sum())

    def g(x):  # a counter and a product that are not linear travel with a linear carry
        def body(c, w):
            n, p, s = c
            return (n + 1, p * w, s + cond(n > 1, lambda: x * p, lambda: 2.0 * x)), s * p

        (_, _, s), ys = scan(body, (0, 1.0, 0.0), XS)
        return s + total(ys)

    close(linear_transpose(g, 1.0)(1.0)[0], g(1.0))
    close(jit(lambda ct: linear_transpose(g, 1.0)(ct)[0])(1.0), g(1.0))
    close(linear_transpose(lambda x: cond(True, lambda x: 3.0 * x, lambda x: x, x), 1.0)(2.0)[0], 6.0)
    with pytest.raises(TypeError, match="not linear"):
        linear_transpose(lambda x: scan(lambda c, w: (c * x, None), 1.0, XS)[0], 1.0)(1.0)


def test_custom_jvp_rules_that_differentiate_loops():
    def loop(x):
        return scan(lambda c, w: (sin(c * w) * x, c), x, XS)[0]

    def choice(x):
        return jit(lambda p, x: cond(p > 0.0, lambda x: sin(x), lambda x: x, x))(x, x)

    def repeat(x):
        return while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, sin(s[1]) * x), (0, x))[1]

    for f in (loop, choice, repeat):
        g = custom_jvp(f)
        g.defjvp(lambda primals, tangents, f=f: jvp(f, primals, tangents))
        close(jvp(g, (0.4,), (1.0,))[1], jvp(f, (0.4,), (1.0,))[1])
        close(linearize(g, 0.4)[1](1.0), jvp(f, (0.4,), (1.0,))[1])
        if f is repeat:
            with pytest.raises(ValueError, match="reverse mode through while_loop"):
                grad(g)(0.4)
        else:
            close(grad(g)(0.4), grad(f)(0.4))
            close(jit(grad(g))(0.4), grad(f)(0.4))
            close(grad(grad(g))(0.4), grad(grad(f))(0.4))


# ---------------------------------------------------------------- custom_root and custom_linear_solve


def newton(f, x):
    def step(x):
        y, slope = jvp(f, (x,), (x * 0.0 + 1.0,))
        return x - y / slope

    return while_loop(lambda s: s[1] < 30, lambda s: (step(s[0]), s[1] + 1), (x, 0))[0]


def scalar_solve(g, y):
    return y / g(1.0)


def test_custom_root():
    def root(a, b):
        return custom_root(lambda x: x * x * x + b * x - a, 1.0, newton, scalar_solve)

    x = float(root(2.0, 0.5))
    close(x ** 3 + 0.5 * x, 2.0)
    close(grad(root)(2.0, 0.5), 1 / (3 * x * x + 0.5))
    check(root, 2.0, 0.5)
    close(vmap(root)(np.array([2.0, 3.0]), np.array([0.5, 0.7])), [float(root(2.0, 0.5)), float(root(3.0, 0.7))])
    close(vmap(grad(root))(np.array([2.0, 3.0]), np.array([0.5, 0.7])),
          [float(grad(root)(2.0, 0.5)), float(grad(root)(3.0, 0.7))])


def test_custom_root_of_trees_with_aux():
    def find(a, b):
        def solve(f, guess):
            return {"x": sqrt(a), "y": sqrt(a) * b}, a * 3.0

        def tangent_solve(g, t):  # [[2x, 0], [-b, 1]]
            column = g({"x": 1.0, "y": 0.0})
            dx = t["x"] / column["x"]
            return {"x": dx, "y": t["y"] - column["y"] * dx}

        return custom_root(lambda v: {"x": v["x"] * v["x"] - a, "y": v["y"] - b * v["x"]}, {"x": 1.0, "y": 1.0}, solve,
                           tangent_solve, has_aux=True)

    solution, aux = find(4.0, 3.0)
    close(solution, {"x": 2.0, "y": 6.0})
    close(aux, 12.0)
    close(grad(lambda a, b: find(a, b)[0]["y"], argnums=(0, 1))(4.0, 3.0), (0.75, 2.0))
    close(grad(lambda a, b: find(a, b)[1])(4.0, 3.0), 0.0)
    check(lambda a, b: find(a, b)[0]["y"], 4.0, 3.0)


def diagonal_solver(matvec, b):
    return b / matvec(b * 0.0 + 1.0)


def test_custom_linear_solve():
    def solve(d, b):
        return custom_linear_solve(lambda x: d * x, b, diagonal_solver, diagonal_solver)

    d, b = np.array([2.0, 3.0, 4.0]), np.array([1.0, -1.0, 0.5])
    close(solve(d, b), b / d)
    check(lambda d, b: total(sin(solve(d, b))), d, b)
    check(lambda d, b: total(sin(custom_linear_solve(lambda x: d * x, b, diagonal_solver, symmetric=True))), d, b)
    close(vmap(solve, (None, 0))(d, np.stack([b, 2 * b])), np.stack([b / d, 2 * b / d]))
    close(vmap(solve, (0, None))(np.stack([d, 2 * d]), b), np.stack([b / d, b / d / 2]))


def test_custom_linear_solve_that_is_not_symmetric():
    inverse = np.linalg.inv
    matrix = np.array([[2.0, 1.0], [0.5, 3.0]])

    def apply(m, x):
        return sum_over(m * reshape(x, (1, 2)), (1,))

    def by_substitution(matvec, b):  # Jacobi's iteration: x = x + (b - A x) / 4
        return fori_loop(0, 120, lambda i, x: x + (b - matvec(x)) / 4.0, b * 0.0)

    def solve(m, b):
        return custom_linear_solve(lambda x: apply(m, x), b, by_substitution, by_substitution)

    b = np.array([1.0, 2.0])
    close(solve(matrix, b), inverse(matrix) @ b)
    check(lambda m, b: total(sin(solve(m, b))), matrix, b, order=1)
    check(lambda b: total(sin(solve(matrix, b))), b)
    want = -np.outer(inverse(matrix).T @ np.ones(2), inverse(matrix) @ b)
    close(grad(lambda m: total(solve(m, b)))(matrix), want)
    close(grad(lambda m: total(solve(m, b)))(matrix), jacfwd(lambda m: total(solve(m, b)))(matrix))


def test_custom_linear_solve_with_aux_and_errors():
    def solve(d, b):
        return custom_linear_solve(lambda x: d * x, b, lambda f, b: (b / d, {"steps": 1}), lambda f, b: (b / d, None),
                                   has_aux=True)

    x, aux = solve(2.0, 6.0)
    close((x, aux["steps"]), (3.0, 1))
    close(grad(lambda d, b: solve(d, b)[0], argnums=(0, 1))(2.0, 6.0), (-1.5, 0.5))
    with pytest.raises(TypeError, match="(?s)reverse mode needs the transposed solution.*transpose_solve"):
        grad(lambda b: custom_linear_solve(lambda x: 2.0 * x, b, lambda f, b: b / 2.0))(1.0)
    close(jvp(lambda b: custom_linear_solve(lambda x: 2.0 * x, b, lambda f, b: b / 2.0), (1.0,), (3.0,))[1], 1.5)
    with pytest.raises(TypeError, match="another type than its argument has"):
        custom_linear_solve(lambda x: concatenate((x, x), 0), np.ones(2), lambda f, b: b)
    with pytest.raises(TypeError, match="another structure than its argument has"):
        custom_root(lambda x: (x, x), 1.0, newton, scalar_solve)
    with pytest.raises(TypeError, match="has_aux=True needs a solver that returns a pair"):
        custom_root(lambda x: x, 1.0, newton, scalar_solve, has_aux=True)
    assert current_trace.get() is EVAL


def test_a_batched_cond_runs_a_branch_only_for_those_that_take_it():
    table = np.arange(3.0)

    def look_up(i):
        return cond(i < 3, lambda i: fnp.asarray(table)[i], lambda i: -1.0, i)

    indices = np.array([0, 7, 2, 5])
    for transform in (vmap(look_up), jit(vmap(look_up)), vmap(jit(look_up))):
        np.testing.assert_array_equal(transform(indices), [0.0, -1.0, 2.0, -1.0])
    np.testing.assert_array_equal(vmap(look_up)(np.array([8, 9])), [-1.0, -1.0])

    def safe(x):
        return cond(x > 0, lambda x: fnp.sqrt(x), lambda x: 2.0 * x, x)

    xs = np.array([4.0, 0.0, -1.0])
    for transform in (vmap(grad(safe)), jit(vmap(grad(safe))), grad(lambda v: fnp.sum(vmap(safe)(v)))):
        np.testing.assert_array_equal(transform(xs), [0.25, 2.0, 2.0])


def test_a_batched_while_loop_does_not_run_on_for_those_that_are_done():
    table = np.arange(1.0, 5.0)

    def total(n):
        return while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] + fnp.asarray(table)[c[0]]), (0, 0.0))[1]

    lengths = np.array([4, 0, 2])
    for transform in (vmap(total), jit(vmap(total)), vmap(jit(total))):
        np.testing.assert_array_equal(transform(lengths), [10.0, 0.0, 3.0])
