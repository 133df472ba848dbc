"""custom_jvp, custom_vjp and checkpoint: trees, nondiff arguments, symbolic zeros, batching, closures, wrong rules."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.core.types import Zero


def test_the_rule_is_used_and_not_the_function():
    f = fg.custom_jvp(fnp.sin)
    f.defjvp(lambda p, t: (fnp.sin(p[0]), 100.0 * t[0]))
    g = fg.custom_vjp(fnp.sin)
    g.defvjp(lambda x: (fnp.sin(x), None), lambda res, ct: (100.0 * ct,))
    for h in (f, g):
        for transform in (fg.grad, lambda k: fg.jit(fg.grad(k)), lambda k: fg.grad(fg.jit(k)),
                          lambda k: lambda x: fg.jvp(k, (x,), (1.0,))[1], lambda k: fg.grad(fg.checkpoint(k))):
            assert float(transform(h)(0.3)) == 100.0
        np.testing.assert_allclose(fg.vmap(fg.grad(h))(np.ones(3)), [100.0] * 3)
        np.testing.assert_allclose(h(0.3), np.sin(0.3))


def test_rules_do_not_run_when_nothing_is_differentiated():
    f = fg.custom_vjp(fnp.sin)
    f.defvjp(lambda x: 1 / 0, lambda res, ct: 1 / 0)
    np.testing.assert_allclose(fg.jit(fg.vmap(f))(np.ones(2)), np.sin(np.ones(2)))


def test_trees_and_nondiff_arguments():
    @fg.custom_vjp
    def f(p, k):
        return {"y": p["a"] * p["b"][0], "z": k}

    f.defvjp(lambda p, k: (f(p, k), p), lambda p, ct: ({"a": ct["y"] * p["b"][0], "b": [ct["y"] * p["a"]]}, ct["z"]))
    p = {"a": 2.0, "b": [3.0]}
    g = fg.grad(lambda p, k: f(p, k)["y"] * 10 + f(p, k)["z"], argnums=(0, 1))(p, 5.0)
    assert float(g[0]["a"]) == 30.0 and float(g[0]["b"][0]) == 20.0 and float(g[1]) == 1.0

    from functools import partial

    @partial(fg.custom_jvp, nondiff_argnums=(0,))
    def apply(h, x):
        return h(x)

    @apply.defjvp
    def _(h, primals, tangents):
        return h(*primals), 7.0 * tangents[0]

    assert float(fg.grad(lambda x: apply(fnp.sin, x))(0.1)) == 7.0

    @partial(fg.custom_vjp, nondiff_argnums=(1,))
    def power(x, n):
        return x ** n

    power.defvjp(lambda x, n: (x ** n, x), lambda n, x, ct: (ct * n * x ** (n - 1),))
    assert float(fg.grad(power)(2.0, 3)) == 12.0
    assert float(fg.jit(fg.grad(lambda x: power(x, 3)))(2.0)) == 12.0


def test_keywords_and_defaults_become_positions():
    @fg.custom_jvp
    def f(x, y=2.0):
        return x * y

    f.defjvps(lambda t, out, x, y: t * y, lambda t, out, x, y: t * x)
    assert float(fg.grad(lambda x: f(x))(3.0)) == 2.0
    assert float(fg.grad(lambda y: f(3.0, y=y))(1.0)) == 3.0


def test_defjvps_with_none():
    f = fg.custom_jvp(lambda x, y: x * y)
    f.defjvps(None, lambda t, out, x, y: 5.0 * t)
    assert [float(v) for v in fg.grad(f, (0, 1))(2.0, 3.0)] == [0.0, 5.0]


def test_symbolic_zeros():
    seen = []
    f = fg.custom_jvp(lambda x, y: x * y)

    def rule(primals, tangents):
        seen.append([isinstance(t, Zero) for t in tangents])
        return f(*primals), tangents[0] * primals[1]

    f.defjvp(rule, symbolic_zeros=True)
    assert float(fg.jvp(lambda x: f(x, 3.0), (2.0,), (1.0,))[1]) == 3.0
    assert seen[0] == [False, True]

    perturbed = []
    g = fg.custom_vjp(lambda x, y: x * y)

    def fwd(x, y):
        perturbed.append((x.perturbed, y.perturbed))
        return x.value * y.value, (x.value, y.value)

    g.defvjp(fwd, lambda res, ct: (ct * res[1], ct * res[0]), symbolic_zeros=True)
    assert float(fg.grad(lambda x: g(x, 3.0))(2.0)) == 3.0 and perturbed == [(True, False)]


def test_integer_arguments_get_no_cotangent():
    f = fg.custom_vjp(lambda x, i: x * i)
    f.defvjp(lambda x, i: (x * i, i), lambda i, ct: (ct * i, None))
    assert float(fg.grad(f)(2.0, 3)) == 3.0
    np.testing.assert_allclose(fg.vmap(fg.grad(f))(np.ones(2), np.array([3, 4])), [3.0, 4.0])


def test_vmap_sums_the_cotangents_of_shared_arguments():
    f = fg.custom_vjp(lambda w, x: w * x)
    f.defvjp(lambda w, x: (w * x, (w, x)), lambda res, ct: (ct * res[1], ct * res[0]))
    xs = np.array([1.0, 2.0, 3.0])

    def loss(w):
        return fnp.sum(fg.vmap(f, in_axes=(None, 0))(w, xs))

    for transform in (fg.grad, lambda k: fg.jit(fg.grad(k)), lambda k: fg.grad(fg.jit(k)), fg.jacfwd):
        assert float(transform(loss)(2.0)) == 6.0
    per_example = fg.vmap(fg.grad(fg.jit(f)), in_axes=(None, 0))(2.0, xs)
    np.testing.assert_allclose(per_example, xs)


def test_forward_mode_transposes_a_linear_bwd():
    f = fg.custom_vjp(lambda x: fnp.sin(x))
    f.defvjp(lambda x: (fnp.sin(x), fnp.cos(x)), lambda c, ct: (ct * c,))
    x = np.array([0.1, 0.7])
    np.testing.assert_allclose(fg.jacfwd(f)(x), np.diag(np.cos(x)))
    np.testing.assert_allclose(fg.hessian(lambda v: fnp.sum(f(v)))(x), np.diag(-np.sin(x)))
    nonlinear = fg.custom_vjp(lambda x: x)
    nonlinear.defvjp(lambda x: (x, None), lambda res, ct: (ct * ct,))
    with pytest.raises(fg.errors.NotLinearError, match="bwd rule is not linear in the cotangent"):
        fg.jvp(nonlinear, (1.0,), (1.0,))


def tree_power():
    """y = a**n sum(b), z = a, as a custom_vjp of a tree with a nondiff argument and an integer one; and the same function plain."""
    def plain(p):
        return {"y": p["a"] ** 3 * fnp.sum(p["b"][0]), "z": p["a"]}

    f = fg.custom_vjp(lambda n, p, k: plain(p), nondiff_argnums=(0,))
    f.defvjp(lambda n, p, k: (f(n, p, k), p), lambda n, p, ct: (
        {"a": ct["y"] * n * p["a"] ** (n - 1) * fnp.sum(p["b"][0]) + ct["z"], "b": [ct["y"] * p["a"] ** n * fnp.ones(2)]}, None))
    return (lambda p: f(3, p, 7)), plain


FORWARD_USES = {
    "jvp": lambda f, p, d: fg.jvp(f, (p,), (d,)),
    "jit jvp": lambda f, p, d: fg.jit(lambda p, d: fg.jvp(fg.jit(f), (p,), (d,)))(p, d),
    "jacfwd": lambda f, p, d: fg.jacfwd(f)(p),
    "linearize": lambda f, p, d: fg.linearize(f, p)[1](d),
    "hessian": lambda f, p, d: fg.hessian(lambda p: f(p)["y"])(p),
    "jit hessian": lambda f, p, d: fg.jit(fg.hessian(lambda p: fg.jit(f)(p)["y"]))(p),
    "reverse of forward": lambda f, p, d: fg.grad(lambda p: fg.jvp(f, (p,), (d,))[1]["y"])(p),
    "taylor": lambda f, p, d: fg.taylor(f, p, 4, d),
    "vmap of jvp": lambda f, p, d: fg.vmap(lambda a: fg.jvp(lambda a: f({**p, "a": a}), (a,), (1.0,)))(np.array([1.0, 2.0])),
    "jvp of vmap": lambda f, p, d: fg.jvp(fg.vmap(lambda a: f({**p, "a": a})), (np.array([1.0, 2.0]),), (np.ones(2),)),
    "scan": lambda f, p, d: fg.jvp(lambda p: repeated(f, p), (p,), (d,)),
    "hessian of scan": lambda f, p, d: fg.hessian(lambda p: repeated(f, p))(p),
    "while": lambda f, p, d: fg.jvp(lambda p: fg.lax.while_loop(lambda s: s["a"] < 50, lambda s: {**s, "a": f(s)["y"]}, p), (p,), (d,)),
    "cond": lambda f, p, d: fg.jvp(lambda p: fg.lax.cond(p["a"] > 0, f, lambda p: {"y": p["a"], "z": p["a"]}, p), (p,), (d,)),
    "checkpoint": lambda f, p, d: fg.jvp(fg.grad(fg.checkpoint(lambda p: f(p)["y"])), (p,), (d,)),
}


def repeated(f, p):
    return fg.lax.scan(lambda c, _: ({**c, "a": f(c)["y"] * 0.1}, None), p, None, length=3)[0]["a"]


@pytest.mark.parametrize("use", FORWARD_USES)
def test_forward_mode_of_a_custom_vjp_equals_that_of_the_function(use):
    p, d = {"a": 2.0, "b": [np.array([0.3, 0.8])]}, {"a": 1.0, "b": [np.array([1.0, -2.0])]}
    found, expected = (FORWARD_USES[use](f, p, d) for f in tree_power())
    assert fg.tree.structure(found) == fg.tree.structure(expected)
    for x, y in zip(fg.tree.leaves(found), fg.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=1e-11)


WRONG_RULES = {
    "no rule": (lambda: fg.custom_vjp(fnp.sin)(1.0), AttributeError, "has no rule"),
    "no jvp": (lambda: fg.custom_jvp(fnp.sin)(1.0), AttributeError, "has no rule"),
    "fwd not a pair": (lambda: vjp_of(lambda x: x, lambda r, c: (c,)), TypeError, "fwd rule of f must return a pair"),
    "bwd not a tuple": (lambda: vjp_of(lambda x: (x, x), lambda r, c: c), TypeError, "bwd rule of f must return a tuple"),
    "bwd wrong count": (lambda: vjp_of(lambda x: (x, x), lambda r, c: (c, c)), TypeError, "one cotangent for each of 1 argu"),
    "bwd wrong shape": (lambda: vjp_of(lambda x: (x, x), lambda r, c: (fnp.ones(3),)), TypeError,
                        r"wrong type for its argument x\S*,(.|\n)*float64\[3\](.|\n)*float64\[\]"),
    "bwd wrong dtype": (lambda: vjp_of(lambda x: (x, x), lambda r, c: (c.astype("float32"),)), TypeError, r"float32\[\]"),
    "bwd wrong tree": (lambda: vjp_of(lambda x: (x, x), lambda r, c: ({"k": c},)), TypeError, "another structure than its"),
    "fwd wrong tree": (lambda: fg.jit(lambda x: fg.grad(lambda y: made(lambda x: ([x], x), lambda r, c: (c,))(y))(x))(1.0),
                       TypeError, "grad: the result of|another structure"),
    "jvp not a pair": (lambda: jvp_of(lambda p, t: p[0]), TypeError, "the rule of f must return a pair"),
    "jvp wrong shape": (lambda: jvp_of(lambda p, t: (p[0], fnp.ones(3))), TypeError, r"wrong type(.|\n)*float64\[3\]"),
    "jvp wrong tree": (lambda: jvp_of(lambda p, t: (p[0], (t[0], t[0]))), TypeError, "another structure than its result"),
    "fwd wrong type": (lambda: fg.jit(lambda x: fg.grad(lambda y: fnp.sum(fg.jit(made(lambda x: (fnp.ones(3), x), lambda r, c: (r,)))(y)))(x))(1.0),
                       TypeError, r"fwd rule of f: its result has another type than f's(.|\n)*float64\[3\](.|\n)*float64\[\]"),
    "fwd residual": (lambda: vjp_of(lambda x: (x, "text"), lambda r, c: (c,)), TypeError, "'text'(.|\n)*keep Python values in nondiff_argnums"),
    "bwd wrong leaf": (lambda: fg.grad(lambda p: made(lambda p: (p["a"], None), lambda r, c: ({"a": c, "b": [c]},))(p))(
        {"a": 1.0, "b": [np.ones(2)]}), TypeError, r"for its argument x\['b'\]\[0\](.|\n)*float64\[\](.|\n)*float64\[2\]"),
    "bwd wrong leaf, forward": (lambda: fg.jvp(lambda p: made(lambda p: (p["a"], None), lambda r, c: ({"a": c, "b": [c]},))(p), (
        {"a": 1.0, "b": [np.ones(2)]},), ({"a": 1.0, "b": [np.ones(2)]},)), TypeError, r"for its argument x\['b'\]\[0\]"),
    "bwd wrong leaf, batched": (lambda: fg.vmap(fg.grad(made(lambda x: (x, x), lambda r, c: (fnp.ones(3),))))(np.ones(2)), TypeError,
                                r"wrong type for its argument x(.|\n)*float64\[3\](.|\n)*float64\[\]"),
    "bwd nonlinear, forward": (lambda: fg.jvp(made(lambda x: (x, x), lambda r, c: (fnp.clip(c, -1, 1),)), (1.0,), (1.0,)), fg.errors.NotLinearError,
                               r"custom_vjp: forward mode through f, whose bwd rule(.|\n)*the operation \w+ has no transpose(.|\n)*fg.custom_jvp for f"),
    "bwd nonlinear, batched": (lambda: fg.jit(fg.vmap(lambda x: fg.jvp(made(lambda x: (x, x), lambda r, c: (c * c,)), (x,), (x,))))(np.ones(2)),
                               fg.errors.NotLinearError, "forward mode through f, whose bwd rule is not linear"),
    "no rule, staged": (lambda: fg.jit(fg.grad(fg.custom_vjp(fnp.sin)))(1.0), AttributeError, r"sin has no rule(.|\n)*sin.defvjp\(fwd, bwd\)"),
    "jvp wrong dtype": (lambda: jvp_of(lambda p, t: ({"y": [p[0]]}, {"y": [t[0].astype("float32")]})), TypeError,
                        r"wrong type for result\['y'\]\[0\](.|\n)*float32\[\](.|\n)*float64\[\]"),
    "jvp wrong result": (lambda: fg.jit(lambda x: fg.jvp(fg.jit(made_jvp(lambda p, t: (p[0].astype("float32"), t[0].astype("float32")))), (x,), (x,)))(1.0),
                         TypeError, r"the rule of f: its result has another type than f's(.|\n)*float32\[\](.|\n)*float64\[\]"),
    "jvp nonlinear": (lambda: fg.grad(made_jvp(lambda p, t: (p[0], t[0] * t[0])))(1.0), TypeError, "not linear"),
    "jvp constant": (lambda: fg.grad(made_jvp(lambda p, t: (p[0], fnp.ones(()))))(1.0), TypeError, "does not depend on"),
    "captured": (lambda: fg.grad(lambda x: fg.jit(lambda y: made_closure(x)(y))(1.0))(2.0), (TypeError, RuntimeError),
                 "closes over a value|used outside of it"),
}


def made(fwd, bwd):
    def f(x):
        return x

    rule = fg.custom_vjp(f)
    rule.defvjp(fwd, bwd)
    return rule


def made_jvp(jvp):
    def f(x):
        return x

    rule = fg.custom_jvp(f)
    rule.defjvp(jvp)
    return rule


def made_closure(x):
    rule = fg.custom_jvp(lambda y: x * y)
    rule.defjvp(lambda p, t: (x * p[0], x * t[0]))
    return rule


def vjp_of(fwd, bwd):
    return fg.grad(made(fwd, bwd))(1.0)


def jvp_of(jvp):
    return fg.jvp(made_jvp(jvp), (1.0,), (1.0,))


@pytest.mark.parametrize("case", WRONG_RULES)
def test_wrong_rules_are_named(case):
    run, error, text = WRONG_RULES[case]
    with pytest.raises(error, match=text):
        run()
    assert float(fg.grad(lambda x: x * x)(3.0)) == 6.0


def test_checkpoint_keeps_only_its_inputs():
    def layer(x):
        for _ in range(10):
            x = fnp.sin(x)
        return x

    x = np.ones(5)
    plain = fg.make_jaxpr(fg.grad(lambda v: fnp.sum(layer(v))))(x)
    kept = fg.make_jaxpr(fg.grad(lambda v: fnp.sum(fg.checkpoint(layer)(v))))(x)
    names = [e.primitive.name for e in kept.equations]
    assert names.count("checkpoint") == 2 and "cos" not in names  # forward, and the recomputing backward
    assert "cos" in [e.primitive.name for e in plain.equations]
    np.testing.assert_allclose(fg.grad(lambda v: fnp.sum(fg.checkpoint(layer)(v)))(x), fg.grad(lambda v: fnp.sum(layer(v)))(x))


def test_names_of_custom_derivatives():
    from funcgrad import custom_derivatives as names

    f = names.custom_vjp(lambda x, y: x * y)

    def forward(x, y):
        assert isinstance(x, names.CustomVJPPrimal) and y.perturbed is False
        return fg.numpy.multiply(*names.custom_vjp_primal_tree_values((x, y))), y.value

    f.defvjp(forward, lambda y, ct: (ct * y, None), symbolic_zeros=True)
    assert float(fg.grad(f)(2.0, 3.0)) == 3.0
    assert float(fg.grad(lambda x: names.linear_call(lambda _, x: 2 * x, lambda _, ct: 2 * ct, (), x))(3.0)) == 2.0
    assert names.SymbolicZero(fg.typeof(1.0)).aval.shape == ()
