"""fg.explain_nan: a zoo of programs that go wrong on a known line, marked CULPRIT, each as it is and under transformations."""
from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.core.trace import EVAL, current_trace
from funcgrad.errors import within

X = np.array([2.0, 1.0, 0.0])
RNG = np.random.default_rng(0)


def log_of_zero(x):
    p = x / fnp.sum(x)
    logs = fnp.log(p)  # CULPRIT
    return -fnp.sum(p * logs)


def cross_entropy(logits):
    e = fnp.exp(logits - fnp.max(logits))
    p = e / fnp.sum(e)
    return -fnp.sum(fnp.array([1.0, 0.0, 0.0])
                    * fnp.log(p))  # CULPRIT


def where_root(x):
    y = x * 1.0
    return fnp.sum(fnp.where(y > 0,
                             fnp.sqrt(y),  # CULPRIT
                             0.0))


def where_reciprocal(x):
    safe = x > 0
    inverse = 1.0 / x  # CULPRIT
    return fnp.sum(fnp.where(safe, inverse, 0.0))


def taken_branch(x):
    y = x * 1.0
    root = fnp.sqrt(y)  # CULPRIT
    return fnp.sum(fnp.where(y < 1, 0.0 * root, y))


def scaled_branch(x):
    def body(y, _):
        root = fnp.sqrt(y)  # CULPRIT
        return fnp.where(y > 0, 2.0 * root[::-1][::-1], 0.0), None

    return fnp.sum(lax.scan(body, x * 1.0, None, 2)[0])


def norm_by_hand(x):
    d = x - x
    square = fnp.sum(d * d)
    return fnp.sqrt(square)  # CULPRIT


def root_of_square(x):
    square = (x * 0.0) ** 2
    return fnp.sum(fnp.sqrt(square))  # CULPRIT


def softmax_by_hand(x):
    e = fnp.exp(x * 1000.0)  # CULPRIT
    total = fnp.sum(e)
    return e / total


def logsumexp_by_hand(x):
    a = fnp.log(fnp.sum(fnp.exp(x * 1000.0)))  # CULPRIT
    b = fnp.log(fnp.sum(fnp.exp(x * 2000.0)))
    return a - b


def power_of_zero(x):
    base = x * 0.0
    return fnp.sum(base ** 0.5)  # CULPRIT


def negative_base(x):
    y = x - 3.0
    return y ** 0.5  # CULPRIT


def angle(x):
    unit = x / fnp.linalg.norm(x)
    cosine = fnp.sum(unit * unit) * (1 + 1e-9)
    return fnp.arccos(cosine)  # CULPRIT


def eigenvector_by_hand(x):
    values, vectors = fnp.linalg.eigh(fnp.eye(3) + 0 * fnp.diag(x))
    gaps = values[:, None] - values[None, :]
    weights = (fnp.ones((3, 3)) - fnp.eye(3)) / gaps  # CULPRIT
    return vectors @ weights


def normalised_constant(x):
    c = fnp.ones(3) + 0 * x
    mean = fnp.mean(c)
    return (c - mean) / fnp.std(c)  # CULPRIT


def deviation_gradient(x):
    c = fnp.ones(3) + 0 * x
    return fnp.std(c)  # CULPRIT


def walk(x):
    def body(c, step):
        c = c - 1.0
        return c, fnp.log(c)  # CULPRIT

    return lax.scan(body, x[0] + 1.5, fnp.arange(5.0))[1]


def recurrent(x):
    def body(c, step):
        c = c - 1.0
        r = fnp.sqrt(c)  # CULPRIT
        return c, r * c

    return fnp.sum(lax.scan(body, 3.0 + 0 * x[0], fnp.arange(3.0))[1])


def loop(x):
    def body(state):
        y, i = state
        y = y - 1.0
        return fnp.sqrt(y), i + 1  # CULPRIT

    return lax.while_loop(lambda state: state[1] < 4, body, (x[0], 0))[0]


def counted(x):
    def body(i, y):
        left = 3.0 - i
        return y / left  # CULPRIT

    return lax.fori_loop(0, 6, body, x[0])


def branch(x):
    return lax.cond(x[0] > 0,
                    lambda x: fnp.log(-x),  # CULPRIT
                    lambda x: x, x[0])


@fg.custom_jvp
def softened(x):
    return fnp.abs(x)


@softened.defjvp
def _softened_jvp(primals, tangents):
    x, = primals
    slope = x / fnp.abs(x)  # CULPRIT of custom_rule
    return softened(x), slope * tangents[0]


def custom_rule(x):
    return fnp.sum(softened(x))


@fg.custom_vjp
def clipped(x):
    return x * 1.0


def _clipped_bwd(x, ct):
    size = fnp.sqrt(fnp.sum(0.0 * ct))
    return (ct / size,)  # CULPRIT of custom_backward


clipped.defvjp(lambda x: (clipped(x), x), _clipped_bwd)


def custom_backward(x):
    return fnp.sum(clipped(x))


def large_float32(x):
    y = x.astype("float32") * 50
    return fnp.sum(fnp.exp(y))  # CULPRIT


def square_overflow(x):
    y = x * 1e200
    return fnp.sum(y * y)  # CULPRIT


def narrowed(x):
    y = x * 1e5
    return y.astype("float16")  # CULPRIT


def integers(x):
    n = fnp.array([70000, 1])
    return n.astype(fnp.float16) * 1.0  # CULPRIT


def matrix_of_infinity(x):
    inverse = 1.0 / x  # CULPRIT
    weights = fnp.zeros((3, 3))
    return weights @ inverse


def complex_root(z):
    w = z * 0.0
    return fnp.abs(fnp.sqrt(w))  # CULPRIT


def rematerialised(x):
    def block(x):
        y = x - 1.0
        return fnp.sqrt(y)  # CULPRIT

    return fnp.sum(fg.checkpoint(block)(x))


def nested(x):
    inner = fg.jit(lambda x: fnp.arctanh(x))  # CULPRIT
    return fg.jit(lambda x: inner(x * 2.0))(x)


def variance_of_one(x):
    data = x[:1]
    return fnp.var(data, ddof=1)  # CULPRIT


def infinite_mask(x):
    scores = fnp.where(x > 5, x, -fnp.inf)
    top = fnp.max(scores)
    return fnp.exp(scores - top)  # CULPRIT


def sorted_roots(x):
    roots = fnp.sqrt(x - 0.5)  # CULPRIT
    ordered = fnp.sort(roots)
    return ordered[::-1] @ fnp.ones((3, 3))


ZOO = [  # program, transformation, argument, operation, cause, a word of the rewrite
    (log_of_zero, None, X, "log", "log outside of its domain", "xlogy"),
    (cross_entropy, None, np.array([800.0, 0.0, 1.0]), "log", "log outside of its domain", "log_softmax"),
    (where_root, fg.grad, X, "div", "0 * inf behind a branch of where that is not selected", "fg.piecewise"),
    (where_reciprocal, fg.grad, X, "div", "0 * inf behind a branch of where that is not selected", "f(fnp.where(ok, x, 1.0))"),
    (taken_branch, fg.grad, X, "div", "the derivative of sqrt is infinite here, and 0 * inf is NaN", "sqrt(x + eps)"),
    (scaled_branch, fg.grad, X, "div", "0 * inf behind a branch of where that is not selected", "fg.piecewise"),
    (norm_by_hand, fg.grad, X, "div", "the gradient of a norm at 0", "+ eps"),
    (root_of_square, fg.grad, X, "div", "the derivative of sqrt is infinite here, and 0 * inf is NaN", "sqrt(x + eps)"),
    (softmax_by_hand, None, X, "exp", "overflow of exp", "subtract the maximum"),
    (logsumexp_by_hand, None, X, "exp", "overflow of exp", "logsumexp"),
    (power_of_zero, fg.grad, X, "pow", "the derivative of pow is infinite here, and 0 * inf is NaN", ""),
    (negative_base, None, X, "pow", "pow outside of its domain", "positive"),
    (angle, None, X, "acos", "acos outside of its domain", "fnp.clip"),
    (eigenvector_by_hand, None, X, "div", "degenerate eigenvalues", "fnp.linalg.eigh"),
    (normalised_constant, None, X, "div", "0/0", "plus eps"),
    (deviation_gradient, fg.grad, X, "div", "the derivative of sqrt is infinite here, and 0 * inf is NaN", "sqrt(x + eps)"),
    (walk, None, X, "log", "log outside of its domain", ""),
    (recurrent, fg.grad, X, "div", "the derivative of sqrt is infinite here, and 0 * inf is NaN", ""),
    (loop, None, X, "sqrt", "sqrt outside of its domain", ""),
    (counted, None, X, "div", "division by zero", ""),
    (branch, None, X, "log", "log outside of its domain", ""),
    (custom_rule, fg.grad, X, "div", "0/0", ""),
    (custom_backward, fg.grad, X, "div", "division by zero", ""),
    (large_float32, None, X, "exp", "overflow of exp", "float32"),
    (square_overflow, None, X, "mul", "overflow", "scale"),
    (narrowed, None, X, "convert_element_type", "overflow in a conversion", "float16 holds no number that large"),
    (integers, None, X, "convert_element_type", "overflow in a conversion", "wider dtype"),
    (matrix_of_infinity, None, X, "div", "division by zero", ""),
    (complex_root, fg.grad, 1.0 + 0j, "div", "the derivative of sqrt is infinite here, and 0 * inf is NaN", ""),
    (rematerialised, fg.grad, X + 1.0, "div", "the derivative of sqrt is infinite here", "sqrt(x + eps)"),
    (nested, None, X, "atanh", "atanh outside of its domain", "between -1 and 1"),
    (variance_of_one, None, X, "div", "a constant", ""),
    (infinite_mask, None, X, "sub", "inf - inf", "infinities"),
    (sorted_roots, None, X, "sqrt", "sqrt outside of its domain", ""),
]
FORWARD = [entry for entry in ZOO if entry[1] is None and entry[0] is not variance_of_one]  # the scope allows constants


def culprit(f):
    """The marked line of a program, or of its rule."""
    lines, _ = inspect.findsource(f)
    _, first = inspect.getsourcelines(f)
    named = [i + 1 for i, line in enumerate(lines) if line.rstrip().endswith(f"CULPRIT of {f.__name__}")]
    return named[0] if named else next(i + 1 for i in range(first - 1, len(lines)) if lines[i].rstrip().endswith("CULPRIT"))


def check(report, f, operation, cause, word):
    assert report and report.file == __file__ and report.line == culprit(f), f"line {culprit(f)} expected\n{report}"
    assert f"test_explain_nan.py:{report.line}" in str(report).splitlines()[0]
    assert operation is None or report.operation == operation, report
    assert cause is None or report.cause == cause, report
    assert word in report.rewrite, report
    assert current_trace.get() is EVAL and within.now() == ()


@pytest.mark.parametrize("jitted", [False, True], ids=["plain", "jit"])
@pytest.mark.parametrize("f, transform, x, operation, cause, word", ZOO, ids=[entry[0].__name__ for entry in ZOO])
def test_the_culprit_is_named_first(f, transform, x, operation, cause, word, jitted):
    g = transform(f) if transform else f
    if transform:
        with np.errstate(all="ignore"):
            assert np.isfinite(np.asarray(f(x))).all()
    check(fg.explain_nan(fg.jit(g) if jitted else g, x), f, operation, cause, word)


@pytest.mark.parametrize("f, transform, x, operation, cause, word", ZOO, ids=[entry[0].__name__ for entry in ZOO])
def test_under_vmap_the_lane_is_told(f, transform, x, operation, cause, word):
    g = transform(f) if transform else f
    good = np.full_like(x, 1.3)
    report = fg.explain_nan(fg.jit(fg.vmap(g)), np.stack([good, x, good]))
    check(report, f, None, None, "")
    lanes = [turn for turn in report.within if turn.kind == "lane"]
    assert len(lanes) == 1 and lanes[0].count == 3
    alone = fg.explain_nan(g, good)
    assert lanes[0].number == (0 if alone else 1)


@pytest.mark.parametrize("f, transform, x, operation, cause, word", FORWARD, ids=[entry[0].__name__ for entry in FORWARD])
def test_the_scope_names_a_line_of_the_same_program(f, transform, x, operation, cause, word):
    with pytest.raises(FloatingPointError) as caught, fg.debug.nans(inf=True):
        fg.jit(f)(x)
    assert f"test_explain_nan.py:{culprit(f)}" in str(caught.value).splitlines()[0], str(caught.value)


def test_nan_in_the_data_is_named_by_its_argument():
    def loss(params, batch):
        h = fnp.tanh(batch["x"] @ params["w"])
        return fnp.mean((h - batch["y"]) ** 2)

    x = RNG.normal(size=(4, 3))
    x[2, 1] = np.nan
    batch, params = {"x": x, "y": np.zeros(4)}, {"w": np.ones(3)}
    for f in (loss, fg.jit(loss), fg.grad(loss), fg.value_and_grad(loss), fg.jit(fg.grad(loss, argnums=(0,)))):
        report = fg.explain_nan(f, params, batch)
        assert report.argument == "batch['x']" and report.element == (2, 1), report
        assert str(report).startswith("a NaN came in with batch['x'] at [2, 1], first used at test_explain_nan.py:")
    report = fg.explain_nan(lambda x: fg.vmap(lambda r: fnp.sum(r * r))(x), x)
    assert (report.argument, report.element, report.within[0].number) == ("x", (2, 1), 2)
    assert fg.explain_nan(lambda x: x * 2.0, np.nan).kind == "nan"


def test_infinities_that_came_in_are_no_culprits_of_a_nan():
    def attention(scores, mask):
        masked = scores + mask
        weights = fnp.exp(masked - fnp.max(masked, axis=-1, keepdims=True))  # CULPRIT
        return weights / fnp.sum(weights, axis=-1, keepdims=True)

    mask = np.array([[0.0, -np.inf], [-np.inf, -np.inf]])
    report = fg.explain_nan(attention, np.zeros((2, 2)), mask)
    assert report.operation == "sub" and report.line == culprit(attention) and report.element[0] == 1, report
    assert report.argument == "mask" and report.cause == "inf - inf" and "mask has an infinity at [1" in str(report)
    assert fg.explain_nan(lambda x: x + 1.0, np.array([1.0, np.inf])).argument == "x"


def test_what_is_finite_says_so_and_notes_what_was_masked():
    report = fg.explain_nan(lambda x: fnp.sum(fnp.sin(x)), X)
    assert not report and report.kind == "none" and "are finite" in str(report) and report.file == "" and report.line is None
    report = fg.explain_nan(where_root, X - 1.0)
    assert not report and "sqrt(-1) = nan" in str(report) and "a derivative may meet it" in str(report)
    assert not fg.explain_nan(lambda x: "text", X) and not fg.explain_nan(lambda n: fnp.arange(3) // n, 2)


def test_it_never_raises():
    def fails(x):
        raise ValueError("no")

    def refuses(x):
        y = fnp.log(x)  # CULPRIT
        if not np.isfinite(float(fnp.sum(y))):
            raise FloatingPointError("the loss is not finite")
        return y

    report = fg.explain_nan(fails, X)
    assert report.kind == "unknown" and "fails raised ValueError: no" in str(report) and report
    assert fg.explain_nan(refuses, X).line == culprit(refuses)
    assert fg.explain_nan(lambda x: float(fnp.log(x[2])), X).operation == "log"
    assert fg.explain_nan(None, X).kind == "unknown"
    inside = []
    fg.jit(lambda x: (inside.append(fg.explain_nan(fnp.log, x)), x)[1])(X)
    assert "inside a transformed function" in str(inside[0])
    assert current_trace.get() is EVAL and within.now() == ()


def test_a_result_that_only_the_compiler_gives(monkeypatch):
    runs = []

    def changing(x):
        runs.append(x)
        return x * np.nan if len(runs) > 1 else x

    assert "when it is compiled" in str(fg.explain_nan(changing, X))


def test_the_report_shows_itself_in_a_notebook():
    report = fg.explain_nan(fg.grad(where_root), X)
    page = report._repr_html_()
    assert page.startswith("<div>") and page.count("<tr>") == len(report.rows)
    assert repr(report) == str(report)
    assert report.role == "derivative of sqrt" and report.operands == (0.5, 0.0) and report.text.startswith("fnp.sqrt(y)")


def test_the_text_of_a_report():
    def step(c, x):
        return c - x, fnp.log(c)

    def f(xs):
        return fnp.sum(lax.scan(step, 2.0, xs)[1])

    first, line = step.__code__.co_firstlineno + 1, f.__code__.co_firstlineno + 1
    text = str(fg.explain_nan(fg.jit(fg.vmap(f)), np.array([[0.5, 0.5, 0.5], [1.0, 2.0, 0.5]])))
    assert text == f"""\
log made a NaN, called at test_explain_nan.py:{first} in step
  found:    log(-1) = nan
  line:     return c - x, fnp.log(c)
  operands: float64[] -1, made by sub at test_explain_nan.py:{first} in step
  inside:   step 2 of 3 of scan at test_explain_nan.py:{line} in f
            lane 1 of 2 of vmap at test_explain_nan.py:{line + 3} in test_the_text_of_a_report
  reaches:  the result at [1], in 1 of 2 elements
  cause:    log outside of its domain
  instead:  the logarithm of a negative number is NaN, of 0 minus infinity: keep its argument positive. For probabilities take \
log_softmax or log_sigmoid of the logits; for x*log(x) take lax.xlogy or fg.scipy.special.entr"""


def test_long_loops_and_deep_chains_are_followed():
    def f(x):
        return lax.scan(lambda c, _: (c * 1.5 - 0.25 * c ** 3, None), x, None, 600)[0]

    report = fg.explain_nan(f, 4.0)
    assert report.within[0].kind == "step" and report.within[0].number < 30 and report.cause == "overflow"
    assert fg.explain_nan(fg.grad(f), 0.5).kind == "none"


def test_what_a_solver_replaced_by_nan_is_told_with_what_came_before():
    def slope(y, t):
        return fnp.sqrt(y - 1.0) - 2.0  # CULPRIT

    from funcgrad.experimental.ode import odeint
    report = fg.explain_nan(lambda y: odeint(slope, y, fnp.linspace(0.0, 5.0, 4)), 3.0)
    assert report.kind == "nan" and "before:" in str(report) and "sqrt(-" in str(report)
    assert f"at test_explain_nan.py:{culprit(slope)} in slope" in str(report)
    singular = fg.explain_nan(fg.grad(lambda a: fnp.sum(fnp.linalg.solve(a, fnp.ones(2)))), np.ones((2, 2)))
    assert singular.operation == "factored_solve" and "singular" in singular.rewrite


def test_a_select_counts_only_behind_the_operation():
    def loss(logits, y):
        h = fg.nn.relu(1 / (1 + fnp.exp(-fnp.maximum(logits, -5))))
        return -fnp.mean((1 - y) * fnp.log(1 - h))  # CULPRIT

    report = fg.explain_nan(fg.grad(loss), np.array([50.0, 1.0]), np.array([1.0, 0.0]))
    assert report.operation == "div" and report.line == culprit(loss)
    assert report.cause == "the derivative of log is infinite here, and 0 * inf is NaN" and "log_sigmoid" in report.rewrite
    with pytest.raises(FloatingPointError, match="infinite here, and 0"), fg.debug.nans():
        fg.grad(lambda x: fnp.sum(0.0 * fnp.sqrt(fg.nn.relu(x))))(X - 1.0)


def test_what_takes_too_much_one_by_one_is_explained_in_whole_batches(monkeypatch):
    f = fg.jit(fg.vmap(fg.grad(where_root)))
    batch = np.stack([X + 1.0, X, X])
    assert [turn.kind for turn in fg.explain_nan(f, batch).within] == ["lane"]
    monkeypatch.setattr(sys.modules["funcgrad.debug.nans"], "KEPT", 60.0)
    report = fg.explain_nan(f, batch)
    assert report.line == culprit(where_root) and not report.within and report.element == (1, 2), report


def test_the_way_back_through_every_kind_of_movement():
    def f(x):
        y = fnp.log(x)  # CULPRIT
        a = fnp.concatenate([fnp.ones((1, 3)), y.reshape(2, 3).T[::-1, ::-1].reshape(2, 3)])
        b = fnp.pad(a, ((1, 0), (0, 2)))[1:, :3]
        c = fnp.sort(b, axis=0)
        return fnp.einsum("ij,kj->ik", c, fnp.ones((2, 3)))

    report = fg.explain_nan(f, np.array([1.0, 2.0, -1.0, 3.0, 4.0, 5.0]))
    assert report.line == culprit(f) and report.element == (2,) and report.operands == (-1.0,), report


def test_the_layer_of_a_model_is_told():
    from funcgrad import nn
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 2), nn.Lambda(fnp.log)))
    params, _ = model.init(fg.random.key(0))
    report = fg.explain_nan(fg.jit(fg.value_and_grad(lambda p, x: fnp.mean(model(p, x)))), params, RNG.normal(size=(5, 3)))
    assert report.operation == "log" and ("layer:", "1: Sequential > 1: Lambda") in report.rows, report
