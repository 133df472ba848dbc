"""Nested programs: every transformation of every other, to high order, against closed forms."""
from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import dataclass

import numpy as np
import pytest
from comparing import without_kernels

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.core.check import check_jaxpr
from funcgrad.core.jaxpr import count_equations
from funcgrad.core.trace import EVAL, current_trace


def plain(x):
    return fnp.sin(x) * fnp.exp(0.5 * x)


def jitted(x):
    return fg.jit(lambda y: fnp.sin(y))(x) * fg.jit(fnp.exp)(0.5 * x)


def closing(x):
    return fg.jit(lambda y: fnp.sin(y) * fnp.exp(0.5 * x))(x)


def checkpointed(x):
    return fg.checkpoint(plain)(x)


def through_vmap(x):
    return fnp.sum(fg.vmap(lambda y, z: y * z, in_axes=(0, None))(fnp.array([0.25, 0.75]), plain(x)))


def through_grad(x):
    return fg.grad(lambda y: y * plain(x))(1.0)


def through_jvp(x):
    return fg.jvp(lambda y: y * plain(x), (1.0,), (1.0,))[1]


def through_scan(x):
    return fg.lax.scan(lambda c, _: (c * 1.0, None), plain(x), None, length=3)[0]


def through_cond(x):
    return fg.lax.cond(x > -10.0, plain, fnp.cos, x)


def through_linearize(x):
    return fg.linearize(lambda y: y * plain(x), 1.0)[1](1.0)


def through_custom_jvp(x):
    f = fg.custom_jvp(plain)
    f.defjvp(lambda primals, tangents: (plain(*primals), derivative(1)(primals[0]) * tangents[0]))
    return f(x)


def through_custom_vjp(x):
    f = fg.custom_vjp(plain)
    f.defvjp(lambda y: (plain(y), y), lambda y, ct: (ct * derivative(1)(y),))
    return f(x)


def derivative(order):
    """Im of the derivative of exp((0.5 + i) x), which is plain."""
    factor = (0.5 + 1j) ** order

    def f(x):
        return (factor.imag * fnp.cos(x) + factor.real * fnp.sin(x)) * fnp.exp(0.5 * x)

    return f


PROGRAMS = [plain, jitted, closing, checkpointed, through_vmap, through_grad, through_jvp, through_scan, through_cond,
            through_linearize, through_custom_jvp, through_custom_vjp]

forward = lambda f: lambda x: fg.jvp(f, (x,), (fnp.ones_like(x),))[1]  # noqa: E731
reverse = fg.grad
pullback = lambda f: lambda x: fg.vjp(f, x)[1](1.0)[0]  # noqa: E731
linear = lambda f: lambda x: fg.linearize(f, x)[1](1.0)  # noqa: E731
DERIVATIVES = {"forward": forward, "reverse": reverse, "pullback": pullback, "linearize": linear, "jacfwd": fg.jacfwd,
               "jacrev": fg.jacrev, "jit reverse": lambda f: fg.jit(fg.grad(f)), "reverse of jit": lambda f: fg.grad(fg.jit(f)),
               "jit forward": lambda f: fg.jit(forward(f)), "checkpointed reverse": lambda f: fg.grad(fg.checkpoint(f))}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("outer", DERIVATIVES)
@pytest.mark.parametrize("inner", DERIVATIVES)
def test_second_derivatives_in_every_combination(program, outer, inner):
    """Their kernels are made by ``test_nested_programs``, all those of one outer derivative together."""
    second = DERIVATIVES[outer](DERIVATIVES[inner](program))
    xs = np.array([-0.3, 0.7])
    with without_kernels():
        np.testing.assert_allclose(second(0.7), derivative(2)(0.7), rtol=1e-12)
        np.testing.assert_allclose(fg.vmap(second)(xs), derivative(2)(xs), rtol=1e-12)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("outer", ["jit reverse", "reverse of jit"])
def test_kernels_of_a_program_that_is_differentiated_in_two_parts(program, outer):
    np.testing.assert_allclose(DERIVATIVES[outer](fg.grad(program))(0.7), derivative(2)(0.7), rtol=1e-12)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("modes", [("reverse",) * 4, ("forward",) * 4, ("forward", "reverse", "jit reverse", "jacfwd"),
                                   ("reverse of jit", "jit forward", "reverse", "linearize")], ids=" ".join)
def test_fourth_derivatives(program, modes):
    f = program
    for mode in modes:
        f = DERIVATIVES[mode](f)
    with without_kernels():
        np.testing.assert_allclose(f(0.7), derivative(4)(0.7), rtol=1e-11)
    np.testing.assert_allclose(fg.jit(fg.vmap(f))(np.array([0.7, 0.1]))[0], derivative(4)(0.7), rtol=1e-11)


def test_perturbations_are_not_confused():
    assert float(fg.grad(lambda x: x * fg.grad(lambda y: x + y)(1.0))(2.0)) == 1.0
    assert float(fg.grad(lambda x: fg.grad(lambda y: x * y * y)(x))(3.0)) == 12.0
    assert float(fg.jvp(lambda x: x * fg.jvp(lambda y: x * y, (1.0,), (1.0,))[1], (3.0,), (1.0,))[1]) == 6.0


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_programs_are_well_typed(program):
    for f in (program, fg.grad(program), fg.grad(fg.grad(fg.jit(program))), forward(fg.jit(program)), fg.vmap(fg.grad(program))):
        x = fnp.array([0.1, 0.2]) if f.__name__.startswith("vmap") else 0.5
        check_jaxpr(fg.make_jaxpr(f)(x))


def test_the_trace_state_is_clean_after_everything():
    assert current_trace.get() is EVAL


def test_nothing_is_left_behind_when_user_code_raises():
    def bad(x):
        raise KeyError("mine")

    for transform in (fg.grad, fg.jit, fg.vmap, fg.jacfwd, fg.jacrev, fg.checkpoint, lambda f: fg.jit(fg.vmap(fg.grad(f))),
                      lambda f: lambda x: fg.jvp(f, (x,), (x,)), lambda f: lambda x: fg.lax.scan(lambda c, a: f(c), x[0], x),
                      lambda f: lambda x: fg.lax.cond(True, f, f, x)):
        with pytest.raises(KeyError, match="mine"):
            transform(bad)(np.ones(3))
        assert current_trace.get() is EVAL
        assert float(fg.grad(lambda x: x * x)(3.0)) == 6.0


def test_no_reference_cycles():
    class Marker(np.ndarray):
        pass

    def run():
        x = np.ones(3).view(Marker)
        ref = weakref.ref(x)
        f = lambda v: fnp.sum(fnp.sin(v) * v)  # noqa: E731
        fg.grad(f)(x), fg.vmap(fnp.sin)(x), fg.hessian(f)(x), fg.vjp(f, x)[1](1.0)
        return ref

    gc.collect()
    gc.disable()
    try:
        assert run()() is None
    finally:
        gc.enable()


def test_threads_trace_independently():
    results = {}

    def work(k):
        f = fg.grad(lambda x: fnp.sin(x * k))
        results[k] = [float(fg.jit(f)(0.1 * i)) for i in range(20)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for k, values in results.items():
        np.testing.assert_allclose(values, [k * np.cos(0.1 * i * k) for i in range(20)], rtol=1e-12)


def test_jit_traces_once_for_each_signature():
    calls = []

    @fg.jit
    def f(x, y):
        calls.append(1)
        return x * y

    f(1.0, 2.0), f(3.0, 4.0)
    assert len(calls) == 1 and f.cache_info().hits == 1
    f(np.ones(3), 2.0), f(np.ones(3), 5.0), f(np.ones(3, np.float32), 5.0)
    assert len(calls) == 3
    f.clear_cache()
    f(1.0, 2.0)
    assert len(calls) == 4


def test_jit_static_arguments_inline_and_methods():
    calls = []

    @fg.jit(static_argnums=1, static_argnames="scale")
    def f(x, n, scale=1.0):
        calls.append(n)
        return x ** n * scale

    assert float(f(2.0, 3)) == 8.0 and float(f(2.0, 2)) == 4.0 and float(f(3.0, 3)) == 27.0
    assert float(f(2.0, 3, scale=2.0)) == 16.0 and calls == [3, 2, 3]
    kind = fg.jit(lambda x, s: (x * s[0], type(s[0]).__name__, np.copysign(1.0, s[0]))[::2], static_argnums=1)
    assert [float(kind(1.0, (s,))[1]) for s in (0.0, -0.0)] == [1.0, -1.0]
    assert kind(2, (1,))[0].dtype == np.int64 and kind(2, (1.0,))[0].dtype == np.float64
    inner = fg.jit(fnp.sin, inline=True)
    assert "jit" not in str(fg.make_jaxpr(lambda x: inner(x))(1.0))
    assert "jit" in str(fg.make_jaxpr(lambda x: fg.jit(fnp.sin)(x))(1.0))

    @fg.tree.register_dataclass
    @dataclass
    class Model:
        w: float

        @fg.jit
        def apply(self, x):
            return self.w * x

    assert float(Model(2.0).apply(3.0)) == 6.0
    assert float(fg.grad(lambda m: m.apply(3.0))(Model(2.0)).w) == 3.0


def test_jit_donates_only_what_it_was_given():
    f = fg.jit(lambda x, y: x + y, donate_argnums=0)
    x, y = fnp.ones(3), fnp.ones(3)
    np.testing.assert_array_equal(f(x, y), 2 * np.ones(3))
    np.testing.assert_array_equal(f(y, y * 1.0), 2 * np.ones(3))
    with pytest.raises(fg.errors.DonatedBufferError, match="was used after it had been donated"):
        x + 1.0


def test_disable_jit_and_lower():
    seen = []
    f = fg.jit(lambda x: (seen.append(type(x).__name__), x * 2.0)[1])
    with fg.disable_jit():
        f(1.0)
    assert seen == ["float"]
    lowered = f.lower(fg.ShapeDtypeStruct((3,), "float32"))
    assert lowered.jaxpr.out_avals[0].shape == (3,)
    np.testing.assert_array_equal(lowered.compile()(np.ones(3, np.float32)), 2 * np.ones(3, np.float32))
    assert lowered.report()["equations"] == 1


def test_make_jaxpr_is_readable():
    text = str(fg.make_jaxpr(lambda x, y: fnp.sin(x) * y + 2.0)(fnp.ones(3), 1.0))
    assert text == ("{ lambda ; a:f64[3] b:f64[]. let\n    c:f64[3] = sin a\n"
                    "    d:f64[3] = broadcast_in_dim[shape=(3,) broadcast_dimensions=()] b\n    e:f64[3] = mul c d\n"
                    "    f:f64[3] = add e 2.0:f64[]\n  in (f,) }")


def test_every_equation_knows_the_users_line():
    def f(x):
        y = fnp.sin(x)
        return y * x

    first, second = fg.make_jaxpr(f)(1.0).equations
    assert first.source.file == __file__ and second.source.line == first.source.line + 1
    assert "in f" in str(first.source)
    assert f"= sin a  # test_composition.py:{first.source.line} in f" in fg.make_jaxpr(f)(1.0).pretty_print(source_info=True)


def test_the_gradient_costs_a_small_constant_times_the_function():
    for f in (plain, lambda x: fnp.sum(fnp.tanh(x * x) / (1 + x)), lambda x: plain(plain(plain(x)))):
        ratio = count_equations(fg.make_jaxpr(fg.grad(f))(0.5)) / count_equations(fg.make_jaxpr(f)(0.5))
        assert ratio <= 4


def test_a_later_write_cannot_change_a_gradient():
    x = np.array([1.0, 2.0])
    _, pull = fg.vjp(lambda v: v * v, x)
    y, tangent = fg.linearize(lambda v: fnp.sin(v) * v, x)
    expected = np.cos(x) * x + np.sin(x)
    x[:] = 100.0
    np.testing.assert_allclose(pull(np.ones(2))[0], [2.0, 4.0])
    np.testing.assert_allclose(tangent(np.ones(2)), expected)


def test_closure_convert_makes_captured_values_arguments():
    def outer(x):
        converted, consts = fg.closure_convert(lambda y: y * x, 1.0)
        assert len(consts) == 1
        return converted(3.0, *consts)

    assert float(fg.grad(outer)(2.0)) == 3.0


def test_ensure_compile_time_eval():
    @fg.jit
    def f(x):
        with fg.ensure_compile_time_eval():
            n = int(fnp.sum(fnp.arange(3)))
        return x * n

    assert float(f(2.0)) == 6.0


def test_aux_argnums_and_integer_arguments():
    value, (da, db) = fg.value_and_grad(lambda a, b: a * b, argnums=(0, 1))(2.0, 3.0)
    assert (float(value), float(da), float(db)) == (6.0, 3.0, 2.0)
    g, aux = fg.grad(lambda x: (x * x, {"k": x}), has_aux=True)(3.0)
    assert float(g) == 6.0 and float(aux["k"]) == 3.0
    (dx, di) = fg.grad(lambda x, i: x * i, argnums=(0, 1), allow_int=True)(2.0, 3)
    assert float(dx) == 3.0 and di.dtype == fg.dtypes.float0
    np.testing.assert_allclose(fg.grad(lambda z: z ** 2, holomorphic=True)(1 + 2j), 2 + 4j)


def test_trees_of_arguments_and_results():
    params = {"b": np.ones(2), "a": [np.ones(()), None]}
    g = fg.grad(lambda p: fnp.sum(p["b"]) * p["a"][0])(params)
    assert list(g) == ["b", "a"] and g["a"][1] is None
    jac = fg.jacrev(lambda p: {"y": p["b"] * p["a"][0]})(params)
    assert jac["y"]["b"].shape == (2, 2) and jac["y"]["a"][0].shape == (2,)
    jac2 = fg.jacfwd(lambda p: {"y": p["b"] * p["a"][0]})(params)
    np.testing.assert_allclose(jac2["y"]["b"], jac["y"]["b"])
    hess = fg.hessian(lambda p: fnp.sum(p["b"] ** 3))({"b": np.array([1.0, 2.0])})
    np.testing.assert_allclose(hess["b"]["b"], np.diag([6.0, 12.0]))
