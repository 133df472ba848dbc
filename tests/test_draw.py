"""Drawings: what they show, where it lies, and the same picture every time.

``python tests/test_draw.py`` writes the reference pictures in ``tests/golden`` anew; look at them before you keep them.
"""
import os
import random
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax, nn
from funcgrad.core.jaxpr import subjaxprs
from funcgrad.debug.user_names import user_names
from funcgrad.viz.layout import Edge, arrange
from funcgrad.viz.record import record

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")
RANDOM = np.random.default_rng(0)


def from_text(source, name):
    """A function whose file and lines are always the same."""
    scope = {"fg": fg, "fnp": fnp, "lax": lax}
    exec(compile(source, "example.py", "exec"), scope)
    return scope[name]


product = from_text("def f(x, y):\n    p = x * y\n    s = fnp.sin(x)\n    return p + s\n", "f")
neuron = from_text("""def neuron(x1, x2, w1, w2, b):
    x1w1 = x1 * w1
    x2w2 = x2 * w2
    n = x1w1 + x2w2 + b
    o = fnp.tanh(n)
    return o
""", "neuron")
rolled = from_text("""def rolled(c, xs):
    def step(c, x):
        new = fnp.tanh(c * x + 1)
        return new, new * 2
    c, ys = lax.scan(step, c, xs)
    return c + fnp.sum(ys)
""", "rolled")
mlp = from_text("""def mlp(params, x, t):
    with fg.named_scope("hidden"):
        h = fnp.tanh(x @ params["w1"] + params["b1"])
    y = h @ params["w2"]
    loss = fnp.mean((y - t) ** 2)
    return loss
""", "mlp")
PARAMS = {"w1": np.arange(12.0).reshape(3, 4) / 10, "b1": np.array([0.1, -0.1, 0.2, 0.0]), "w2": np.ones((4, 2))}
MLP = (mlp, PARAMS, np.arange(15.0).reshape(5, 3) / 7, np.zeros((5, 2)))


@dataclass(frozen=True)
class Block(nn.Composite):
    def parts(self):
        return {"mix": nn.Linear(4, 4), "mlp": nn.Sequential(nn.Linear(4, 8), nn.gelu, nn.Linear(8, 4))}

    def forward(self, run, x):
        x = x + run("mix", x)
        return x + run("mlp", x)


MODEL = nn.Sequential(Block(), Block(), nn.Linear(4, 2))
MODEL_PARAMS = MODEL.init(fg.random.key(0))[0]
MODEL_CALL = (lambda p, x: fnp.sum(MODEL(p, x) ** 2), MODEL_PARAMS, RANDOM.normal(size=(3, 4)).astype(np.float32))


def unrolled(w, xs):
    h = fnp.zeros(4)
    for t in range(8):
        h = fnp.tanh(w @ h + xs[t])
    return fnp.sum(h)


def chain(x):
    for _ in range(250):
        x = fnp.sin(x) * 1.01
    return x


PROGRAMS = {
    "product": (product, 2.0, 3.0), "neuron": (neuron, 2.0, 0.0, -3.0, 1.0, 6.88), "rolled": (rolled, 0.5, np.arange(4.0)),
    "mlp": MLP, "model": MODEL_CALL, "unrolled": (unrolled, RANDOM.normal(size=(4, 4)), np.arange(8.0)), "chain": (chain, 0.5),
    "softmax": (lambda x: -fnp.mean(nn.log_softmax(x)[:, 0]), RANDOM.normal(size=(5, 3))),
    "vmap": (fg.vmap(lambda x, y: fnp.dot(x, y) / (1 + fnp.sum(x))), RANDOM.normal(size=(4, 3)), RANDOM.normal(size=(4, 3))),
    "jit": (fg.jit(lambda x: fg.jit(fnp.sin)(x) + fg.checkpoint(fnp.cos)(x)), 1.0),
    "choices": (lambda x: lax.while_loop(lambda y: y < 9, lambda y: y * 2, x) + lax.cond(x > 0, fnp.sin, fnp.cos, x), 1.0),
    "hessian": (fg.hessian(lambda x: fnp.sum(x ** 3)), np.array([1.0, 2.0])), "identity": (lambda x: x, 1.0),
    "constant": (lambda x: fnp.ones(3), 1.0), "fan": (lambda a: a + a, 3.0), "empty": (lambda: fnp.zeros((0, 2)) * 2,),
    "layers in a loop": (lambda p, x: lax.scan(lambda c, _: (x + MODEL.layers[0](p["0"], c), None), x, None, 3)[0],
                         MODEL_PARAMS, np.ones((2, 4), np.float32)),
    "odd": (lambda x: (x / 0, fnp.isnan(x), x.astype("int32"), x * 1j), np.array([np.nan, np.inf, *range(8)])),
    "escaped": (lambda x: fg.label(x < 2, 'a<b & "c"'), np.arange(3.0)),
}
SCALAR = ("product", "neuron", "rolled", "mlp", "model", "unrolled", "softmax", "jit", "fan", "identity")


# ---------------------------------------------------------------- the pictures as they are


def pictures():
    lowered = fg.jit(mlp).lower(*MLP[1:])
    return {
        "product": fg.draw(product, 2.0, 3.0, gradient=True), "neuron": fg.draw(neuron, 2.0, 0.0, -3.0, 1.0, 6.88, gradient=True),
        "rolled": fg.draw(rolled, 0.5, np.arange(4.0), depth=1), "mlp_folded": fg.draw(*MLP, gradient=True, fold="hidden"),
        "mlp_schedule": fg.draw(lowered), "mlp_memory": fg.draw.memory(lowered),
    }


@pytest.mark.parametrize("name", ["product", "neuron", "rolled", "mlp_folded", "mlp_schedule", "mlp_memory"])
def test_picture(name):
    with open(os.path.join(GOLDEN, f"draw_{name}.svg"), encoding="utf-8") as file:
        assert pictures()[name].svg + "\n" == file.read()


def test_the_steps_of_the_neuron():
    with open(os.path.join(GOLDEN, "steps_neuron.txt"), encoding="utf-8") as file:
        assert str(fg.backward_steps(neuron)(2.0, 0.0, -3.0, 1.0, 6.88)) + "\n" == file.read()


# ---------------------------------------------------------------- properties


def boxes_and_edges(svg):
    """For each scene, its boxes as key -> (x, y, width, height) and its edges as (from, to, first y, last y)."""
    root = ElementTree.fromstring(svg)
    scenes = []

    def scene(element):
        boxes, edges = {}, []
        for child in element:
            if child.get("class") == "fg-box":
                x, y = map(float, re.match(r"translate\((.*),(.*)\)", child.get("transform")).groups())
                rects = [c for c in child if c.tag.endswith("rect")]
                boxes[child.get("data-key")] = (x, y, float(rects[-1].get("width")), float(rects[-1].get("height")))
                for inner in child:
                    if any(c.get("class") in ("fg-box", "fg-edge") for c in inner):
                        scene(inner)
            elif child.get("class") == "fg-edge":
                numbers = [float(n) for n in re.findall(r"-?[\d.]+", child[0].get("d"))]
                ends = re.findall(r"V-?[\d.]+$|-?[\d.]+,(-?[\d.]+)$", child[0].get("d"))
                last = float(re.search(r"(-?[\d.]+)$", child[0].get("d")).group(1))
                assert ends
                edges.append((child.get("data-from"), child.get("data-to"), numbers[1], last))
        scenes.append((boxes, edges))

    def find(element):
        if any(c.get("class") in ("fg-box", "fg-edge") for c in element):
            scene(element)
            return
        for child in element:
            find(child)

    find(root)
    return scenes


def check_scene(boxes, edges, upwards=False):
    placed = list(boxes.values())
    for i, (x, y, w, h) in enumerate(placed):
        for x2, y2, w2, h2 in placed[i + 1:]:
            assert x + w <= x2 + 0.11 or x2 + w2 <= x + 0.11 or y + h <= y2 + 0.11 or y2 + h2 <= y + 0.11
    for source, target, first, last in edges:
        assert source in boxes and target in boxes
        assert (last < first) if upwards else (last > first), (source, target)


@pytest.mark.parametrize("name", PROGRAMS)
def test_boxes_do_not_overlap_and_edges_go_down(name):
    f, *args = PROGRAMS[name]
    for depth in (0, None, 9):
        svg = fg.draw(f, *args, depth=depth).svg
        scenes = boxes_and_edges(svg)
        assert scenes and "nan" not in re.sub(r">[^<]*<", "", svg)
        for boxes, edges in scenes:
            check_scene(boxes, edges)


@pytest.mark.parametrize("name", SCALAR)
def test_the_backward_pass_goes_up(name):
    f, *args = PROGRAMS[name]
    svg = fg.draw(f, *args, gradient=True, depth=9).svg
    root = ElementTree.fromstring(svg)
    forward, backward = [ElementTree.tostring(g, encoding="unicode") for g in root if g.get("data-pass")]
    for boxes, edges in boxes_and_edges(forward):
        check_scene(boxes, edges)
    for boxes, edges in boxes_and_edges(backward):
        check_scene(boxes, edges, upwards=True)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_equation_appears_and_keys_are_unique(name):
    f, *args = PROGRAMS[name]
    drawing = fg.draw(f, *args, depth=9)
    found = [key for boxes, _ in boxes_and_edges(drawing.svg) for key in boxes if re.fullmatch(r"e\d+", key)]
    recording = record(f, tuple(args))
    keys = [key for boxes, _ in boxes_and_edges(drawing.svg) for key in boxes]
    assert len(keys) == len(set(keys)) == drawing.svg.count("data-key=")
    assert sorted(found, key=lambda k: int(k[1:])) == [f"e{i}" for i in range(len(recording.jaxpr.equations))]
    assert repr(drawing) == f"Drawing({recording.name}: {drawing.count} boxes)"


def test_a_random_layout_keeps_edges_off_the_boxes():
    chosen = random.Random(1)
    for count in (2, 9, 40, 120):
        sizes = [(chosen.randint(20, 150), chosen.randint(10, 70)) for _ in range(count)]
        edges = [Edge(i, j, chosen.uniform(-5, 5), chosen.uniform(-5, 5)) for j in range(1, count)
                 for i in {chosen.randint(max(0, j - 20), j - 1) for _ in range(chosen.randint(0, 3))}]
        found = arrange(sizes, edges)
        boxes = {i: (x, y, *size) for i, (x, y, size) in enumerate(zip(found.x, found.y, sizes, strict=True))}
        check_scene(boxes, [])
        assert min(found.x) >= -0.01 and max(x + w for x, _, w, _ in boxes.values()) <= found.width + 0.01
        for edge, route in zip(edges, found.routes, strict=True):
            others = [b for i, b in boxes.items() if i not in (edge.source, edge.target)]
            for (x, y, _), (x2, y2, _) in zip(route, route[1:], strict=False):
                assert y2 >= y - 0.01
                low, high = min(y, y2), max(y, y2)
                for bx, by, bw, bh in others:
                    if low < by + bh - 0.01 and high > by + 0.01:  # beside a box: the line is vertical there, and not in it
                        assert abs(x - x2) < 0.6 and not bx < x < bx + bw


def test_lines_that_share_a_source_are_drawn_once():
    found = arrange([(50, 20)] * 30, [*[Edge(i, i + 1) for i in range(29)], *[Edge(0, j, 5) for j in range(3, 30)]])
    assert found.branches.count(False) == 30 and sum(map(len, found.routes)) < 300


# ---------------------------------------------------------------- what is shown


def texts(drawing):
    return [e.text for e in ElementTree.fromstring(drawing.svg).iter() if e.tag.endswith("tspan")]


def test_values_names_lines_and_gradients_are_shown():
    shown = texts(fg.draw(*PROGRAMS["neuron"], gradient=True))
    for text in ("x1w1", " = x1 * w1", "-6", "  f64[]", "example.py:2", "dn", " = do * ((1 - o) * (1 + o))"):
        assert text in shown
    drawing = fg.draw(*MLP)
    assert drawing.svg.count("<path") > len(re.findall("fg-edge", drawing.svg))  # histograms
    assert {"h", "y", "loss", "params['w1']"} <= set(texts(drawing))


def test_labels_name_values_and_pass_through_every_transformation():
    def f(x):
        return fg.label(fnp.sin(x) * 2, "twice the sine") + 1
    assert "twice the sine" in texts(fg.draw(f, 1.0)) and "name" not in str(record(f, (1.0,)).jaxpr)
    np.testing.assert_allclose(fg.grad(f)(1.0), 2 * np.cos(1.0))
    np.testing.assert_allclose(fg.jit(fg.vmap(fg.grad(fg.grad(f))))(np.ones(2)), -2 * np.sin(np.ones(2)))
    np.testing.assert_allclose(fg.jvp(f, (1.0,), (1.0,))[1], 2 * np.cos(1.0))
    assert "name" not in str(fg.jit(f).lower(1.0).schedule())
    assert fg.label({"a": 1.0}, "tree")["a"].dtype == np.float64
    with pytest.raises(TypeError, match="label: a name is a text"):
        fg.label(1.0, 2)


def test_a_label_costs_nothing_compiled():
    x = np.ones((20, 30))
    plain = fg.jit(lambda x: x @ x.T).lower(x).schedule()
    assert fg.jit(lambda x: fg.label(x @ x.T, "gram")).lower(x).schedule() == plain


def test_parts_fold_and_unfold():
    f, *args = MODEL_CALL
    folded, once, all_of_it = [fg.draw(f, *args, depth=depth) for depth in (0, 1, 9)]
    assert folded.count < once.count < all_of_it.count
    assert [t for t in texts(folded) if t in ("0", "1", "2", "mix", "mlp")] == ["0", "1", "2"]
    assert {"mix", "mlp", "  Block", "  Linear"} <= set(texts(once))
    kept = fg.draw(f, *args, depth=9, fold="mlp")
    assert once.count < kept.count < all_of_it.count and "16 operations" in texts(kept)
    assert "5 arrays" in " ".join(texts(folded)) or "6 arrays" in " ".join(texts(folded))


def test_a_program_that_is_one_call_is_unfolded():
    assert " = sin(v1)" not in texts(fg.draw(fg.jit(lambda x: fnp.sin(x) + 1), 1.0, depth=0))
    assert " = v1 + 1" in texts(fg.draw(fg.jit(lambda x: fnp.sin(x) + 1), 1.0))


def test_loops_show_their_first_step_and_choices_the_branch_taken():
    shown = texts(fg.draw(rolled, 0.5, np.arange(4.0), depth=1))
    assert {"new", "xs[i]", " = c * xs[i]"} <= set(shown)
    shown = texts(fg.draw(*PROGRAMS["choices"], depth=9))
    assert {"condition", "first step", " = y * 2"} <= {t.replace("x * 2", "y * 2") for t in shown} and " = sin(x)" in shown


def test_effects_happen_once(capfd):
    def printing(c, x):
        fg.debug.print("step")
        return c * x, c
    assert fg.draw(lambda x: lax.scan(printing, x, np.arange(1.0, 4.0))[0], 2.0, gradient=True).html
    assert capfd.readouterr().out == "step\n" * 3


def test_programs_and_shapes_are_drawn_without_values():
    jaxpr = fg.make_jaxpr(product)(2.0, 3.0)
    drawing = fg.draw(jaxpr)
    assert drawing.title == "program f" and "6" not in texts(drawing) and " = v1 * v2" in texts(drawing)
    assert "6" in texts(fg.draw(jaxpr, 2.0, 3.0))
    assert "f32[3]" in texts(fg.draw(lambda x: x * 2, fg.ShapeDtypeStruct((3,), "float32")))


def test_the_schedule_shows_what_is_fused():
    lowered = fg.jit(mlp).lower(*MLP[1:])
    drawing = fg.draw(lowered)
    kinds = [line.split()[1] for line in str(lowered.schedule()).splitlines() if re.match(r" *\d+  ", line)]
    shown = texts(drawing)
    heads = [t for t in shown if re.match(r"\d+ (kernel|matrix product)", t)]
    assert len(heads) == len(kinds) and [("kernel" in h) for h in sorted(heads)] == [k == "kernel" for k in kinds]
    equations = [k for boxes, _ in boxes_and_edges(drawing.svg) for k in boxes if re.fullmatch(r"e\d+", k)]
    assert len(equations) == len(lowered.passes()[-1][1].equations)


def test_memory_shows_what_the_report_counts():
    lowered = fg.jit(fg.grad(mlp)).lower(*MLP[1:])
    drawing = fg.draw.memory(lowered)
    assert drawing.arena == lowered.report()["arena_bytes"]
    for i, (_, first, last, offset, nbytes) in enumerate(drawing.buffers):
        assert offset + nbytes <= drawing.arena
        for _, first2, last2, offset2, nbytes2 in drawing.buffers[i + 1:]:
            assert last < first2 or last2 < first or offset + nbytes <= offset2 or offset2 + nbytes2 <= offset
    assert max(map(drawing.used, range(1, drawing.length + 1))) <= drawing.arena
    ElementTree.fromstring(drawing.svg)
    assert re.match(r"MemoryDrawing\(grad\(mlp\): \d+ bytes", repr(drawing))


# ---------------------------------------------------------------- files and notebooks


def test_files(tmp_path):
    drawing = fg.draw(*MODEL_CALL, gradient=True)
    drawing.save(tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text() == drawing.svg == drawing._repr_svg_()
    drawing.save(tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and not re.search(r"(src|href)=|url\(|https?://(?!www\.w3\.org/2000/svg)", page)
    assert page.count("data-open=") == 2 * len(set(re.findall(r'data-key="(p[\d.]+)"', page)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.html", "x.svg"]
    with pytest.raises(ValueError, match=r"no such format for this.*\n.*'.gif'\n.*'.svg' or '.html' or '.png'"):
        drawing.save(tmp_path / "x.gif")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    drawing = fg.draw(product, 2.0, 3.0)
    drawing.save(tmp_path / "x.svg")

    def fail(*_):
        raise OSError("full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="full"):
        fg.draw(product, 5.0, 3.0).save(tmp_path / "x.svg")
    assert [p.name for p in tmp_path.iterdir()] == ["x.svg"] and (tmp_path / "x.svg").read_text() == drawing.svg


def test_a_png_needs_cairosvg(tmp_path):
    try:
        import cairosvg  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r"needs the package cairosvg.*\n.*pip install 'funcgrad\[viz\]'"):
            fg.draw(product, 2.0, 3.0).save(tmp_path / "x.png")
    else:
        fg.draw(product, 2.0, 3.0).save(tmp_path / "x.png")
        assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_drawing_that_folds_shows_itself_as_html():
    assert fg.draw(product, 2.0, 3.0)._repr_html_().startswith("<svg")
    html = fg.draw(*MODEL_CALL)._repr_html_()
    assert html.startswith("<div data-fg=") and "<script>" in html
    svg = re.search(r"<svg.*?</svg>", html, re.S).group()
    assert ElementTree.fromstring(svg).tag.endswith("svg")


def test_text_is_escaped():
    svg = fg.draw(*PROGRAMS["escaped"]).svg
    assert "a&lt;b &amp; \"c\"" in svg and 'a<b & "c"' in texts(fg.draw(*PROGRAMS["escaped"]))


# ---------------------------------------------------------------- names


def test_names_of_the_users_code():
    def f(x, w):
        h = x @ w
        m = fnp.mean(h)
        a, b = fnp.split(h[0], 2)
        s = t = -a
        for _ in range(2):
            s = fnp.sin(s) * 2
        (c, ys), k = lax.scan(lambda c, x: (c + x, c * x), m, s), t * b
        return c, ys, k
    jaxpr = fg.make_jaxpr(f)(np.ones((3, 4)), np.ones((4, 4)))
    names = user_names(jaxpr, ["x", "w"])
    found = [(e.primitive.name, *[names.get(v) for v in e.outs]) for e in jaxpr.equations]
    for row in (("dot_general", "h"), ("reduce_sum", None), ("div", "m"), ("neg", "s"), ("mul", "s"), ("sin", None)):
        assert row in found
    assert [name for kind, *ns in found if kind == "slice" for name in ns][1:] == ["a", "b"]
    assert names[jaxpr.in_vars[0]] == "x" and [names.get(v) for v in jaxpr.in_vars] == ["x", "w"]


def test_in_a_derivative_the_names_belong_to_the_function_itself():
    def loss(w, x):
        p = fnp.tanh(x @ w)
        q = p * p
        s = fnp.std(q)
        return fnp.sum(nn.relu(q) / s)

    def rolled(w, x):
        def step(c, _):
            new = fnp.tanh(c * w)
            return new, None
        return fnp.sum(lax.scan(step, x, None, 3)[0])

    w, x = np.ones((3, 2)), np.ones((4, 3))
    for f in (loss, fg.jit(loss), fg.grad(loss), fg.value_and_grad(loss), fg.jit(fg.grad(fg.jit(loss))),
              lambda w, x: fg.jvp(lambda w: loss(w, x), (w,), (w,)), fg.grad(lambda w, x: fnp.sum(fg.grad(loss)(w, x)))):
        found = list(named(fg.make_jaxpr(f)(w, x)))
        assert set(found) <= {("tanh", "p"), ("mul", "q"), ("sqrt", "s")} and len(set(found)) == len(found) == 3, found
    found = list(named(fg.make_jaxpr(fg.grad(rolled))(1.5, 0.5)))
    assert found == [("tanh", "new")], found


def test_cells_of_a_notebook_are_called_as_there(monkeypatch):
    compiler = SimpleNamespace(format_code_name=lambda path: ("Cell", "In[3]") if path == "example.py" else None)
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace(compile=compiler))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    assert "In[3]:2" in texts(fg.draw(product, 2.0, 3.0))
    assert "# In[3]:2" in fg.to_source(product, 2.0, 3.0) and "In[3]:2" in str(fg.backward_steps(product)(2.0, 3.0))


def test_a_schedule_names_the_arguments():
    def f(n, p, x, scale=1.0):
        return fnp.tanh(x @ p["w"]) * scale + n

    lowered = fg.jit(f, static_argnums=0).lower(3, {"w": np.ones((3, 2))}, np.ones((4, 3)), scale=2.0)
    assert lowered.in_names == ["p['w']", "x", "scale"]
    assert {"p['w']", "x", "scale"} <= set(texts(fg.draw(lowered, depth=2)))
    gradient = fg.jit(fg.grad(lambda w, x: fnp.sum(fnp.tanh(x @ w)))).lower(np.ones(3), np.ones((4, 3)))
    assert {"w", "x"} <= set(texts(fg.draw(gradient)))


def named(jaxpr):
    """The primitives of the equations that have names, with those, of a program and of those in it."""
    names = user_names(jaxpr)
    for e in jaxpr.equations:
        yield from [(e.primitive.name, names[v]) for v in e.outs if v in names]
        for inner in subjaxprs(e.params):
            yield from named(inner)


def test_what_the_caller_stores_is_no_name():
    result = record(fnp.sin, (1.0,))
    assert "result" not in result.names.values()


def test_names_that_repeat_are_numbered():
    shown = texts(fg.draw(unrolled, np.ones((4, 4)), np.arange(8.0)))
    assert {"h", "h_2", "h_9"} <= set(shown)


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize("call, error", [
    (lambda: fg.draw(3), "draw: .*not a function|draw.*callable|draw"),
    (lambda: fg.draw(product, 2.0, "y"), "draw: an argument of f is not an array or a number"),
    (lambda: fg.draw(lambda x: x * 2, np.ones(3), gradient=True), r"draw: the function must return one real number"),
    (lambda: fg.draw(fg.make_jaxpr(product)(1.0, 2.0), gradient=True), "gradient=True needs a function"),
    (lambda: fg.draw(fg.make_jaxpr(product)(1.0, 2.0), 1.0), "the arguments are not those of the program"),
    (lambda: fg.draw.memory(product), "draw.memory: there is no program"),
    (lambda: fg.jit(lambda x: fg.draw(product, x, x).count)(1.0), "draw: called inside of a transformed function"),
    (lambda: fg.draw(lambda x: x * 2, fg.ShapeDtypeStruct((), "float64"), gradient=True), "draw: a gradient needs values"),
])
def test_mistakes(call, error):
    with pytest.raises(TypeError, match=error):
        call()


def test_drawing_leaves_no_trace_behind():
    with pytest.raises(ZeroDivisionError):
        fg.draw(lambda x: x / (1 // 0), 1.0)
    assert float(fg.grad(lambda x: x * x)(3.0)) == 6.0


if __name__ == "__main__":
    os.makedirs(GOLDEN, exist_ok=True)
    for name, picture in pictures().items():
        with open(os.path.join(GOLDEN, f"draw_{name}.svg"), "w", encoding="utf-8") as file:
            file.write(picture.svg + "\n")
    with open(os.path.join(GOLDEN, "steps_neuron.txt"), "w", encoding="utf-8") as file:
        file.write(str(fg.backward_steps(neuron)(2.0, 0.0, -3.0, 1.0, 6.88)) + "\n")
