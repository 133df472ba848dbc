"""Trees in files, checkpoints of a run, and runs that were killed."""
import json
import os
import signal
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.numpy as safetensors_numpy

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import optim, training

ROOT = Path(__file__).resolve().parent.parent


class Pair(NamedTuple):
    left: object
    right: object


TREE = {
    "blocks": [{"weight": fnp.arange(6.0).reshape(2, 3), "none": None}, (np.float32(-0.0), np.zeros((0, 2)))],
    "half": fnp.array([1.5, np.nan, np.inf], "bfloat16"), "complex": np.array(1 + 2j), "narrow": np.arange(3, dtype=np.complex64),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)), "strided": np.arange(6, dtype=np.uint8)[::-2],
    "bool": np.array([True, False]), "int": np.array(2**63 - 1), "key": fg.random.key(3), "eight": fnp.ones(3, "float8_e5m2"),
    "numbers": {"int": 2**70, "float": 0.1, "bool": True, "text": "ä\n"}, "by number": {2: np.ones(1), 1: {}}, "a.b": np.ones(1),
    "a": {"b": np.zeros(1)}, "__metadata__": np.ones(2),
}


def bits(tree):
    return [(type(x) if np.isscalar(x) and not isinstance(x, np.generic) else (fnp.result_type(x), np.shape(x)),
             np.asarray(x).tobytes() if not isinstance(x, int | str) else x) for x in fg.tree.leaves(tree)]


@pytest.mark.parametrize("like", [None, TREE], ids=["free", "like"])
def test_a_tree_comes_back_bit_for_bit(tmp_path, like):
    training.save(tmp_path / "t", TREE, {"accuracy": 0.5})
    found = training.load(tmp_path / "t", like)
    assert fg.tree.structure(found) == fg.tree.structure(TREE) and bits(found) == bits(TREE)
    assert list(found) == list(TREE) and training.read_info(tmp_path / "t") == {"accuracy": 0.5}
    training.save(tmp_path / "u", found, {"accuracy": 0.5})
    assert (tmp_path / "t").read_bytes() == (tmp_path / "u").read_bytes()


@pytest.mark.parametrize("tree", [np.arange(3.0), 3, None, {}, [], ()], ids=repr)
def test_trees_without_branches(tmp_path, tree):
    training.save(tmp_path / "t", tree)
    for like in (None, tree):
        found = training.load(tmp_path / "t", like)
        assert fg.tree.structure(found) == fg.tree.structure(tree) and bits(found) == bits(tree)


def test_other_nodes_need_a_template(tmp_path):
    tree = {"pair": Pair(np.ones(2), None), "ordered": OrderedDict(b=1, a=np.ones(1)), "state": optim.adam(0.1).init({"w": np.ones(2)})}
    training.save(tmp_path / "t", tree)
    found = training.load(tmp_path / "t", fg.eval_shape(lambda: fg.tree.map(fnp.asarray, tree)))
    assert fg.tree.structure(found) == fg.tree.structure(tree) and list(found["ordered"]) == ["b", "a"]
    with pytest.raises(training.CheckpointError, match="Pair at 'pair'\n.*\n.*load\\(path, like=tree\\)"):
        training.load(tmp_path / "t")


def test_other_programs_can_read_the_arrays(tmp_path):
    training.save(tmp_path / "t", {"0": {"weight": np.ones((2, 3), np.float32)}})
    assert list(safetensors_numpy.load_file(tmp_path / "t")) == ["0.weight"]


@pytest.mark.parametrize("like, differences", [
    ({"a": [np.ones(2)], "b": np.ones(3)}, "b: float64[2], expected float64[3]"),
    ({"a": [np.ones(2)], "b": np.ones(2, np.float32)}, "b: float64[2], expected float32[2]"),
    ({"a": [np.ones(2)]}, "b: float64[2], expected nothing"),
    ({"a": [np.ones(2)], "b": np.ones(2), "c": {"d": 1}}, "c: missing, expected dict"),
    ({"a": [np.ones(2), 3], "b": None}, "b: float64[2], expected None; a.1: missing, expected int64[]"),
    ({"a": (np.ones(2),), "b": np.ones(2)}, "a: list, expected tuple"),
    ([np.ones(2)], "the tree: dict, expected list"),
    ({"a": [np.ones(2)], "b": Pair(1, 2)}, "b: float64[2], expected Pair"),
    ({str(i): 1.0 for i in range(20)}, "; and 14 more"),
], ids=repr)
def test_another_tree_is_refused_by_path(tmp_path, like, differences):
    training.save(tmp_path / "t", {"a": [np.ones(2)], "b": np.ones(2)})
    with pytest.raises(training.CheckpointError) as caught:
        training.load(tmp_path / "t", like)
    assert differences in str(caught.value) and "holds another tree" in str(caught.value)


@pytest.mark.parametrize("tree, text", [({"f": print}, "built-in function print.* at 'f'"), ({"a": [np.array("x")]}, "at 'a.0'"),
                                        ({(1, 2): 1.0}, r"\(1, 2\) at the top"), ({1: 1.0, "1": 2.0}, "1 at the top"),
                                        ([np.array([None])], "at '0'")])
def test_what_cannot_be_saved(tmp_path, tree, text):
    with pytest.raises(TypeError, match=text):
        training.save(tmp_path / "t", tree)
    assert os.listdir(tmp_path) == []


def test_info_that_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match=r"info cannot be stored(.*\n)*.*float\(x\)"):
        training.save(tmp_path / "t", {}, {"accuracy": np.float32(0.5)})
    assert os.listdir(tmp_path) == []


def whole(folder):
    training.save(folder / "t", {"a": np.ones(100)})
    return (folder / "t").read_bytes()


def with_header(change):
    def make(folder):
        header = {"format": 1, "version": "0", "info": {}, "tree": {"array": "a", "dtype": "float64", "shape": [1]}}
        return safetensors_numpy.save({"a": np.ones(1)}, change(header))

    return make


@pytest.mark.parametrize("make, text", [
    (lambda folder: b"", "not a checkpoint"), (lambda folder: b"hello", "ends too early, or is of another kind"),
    (lambda folder: b"hello " * 99, "of another kind"), (lambda folder: whole(folder)[:60], "ends too early"),
    (lambda folder: whole(folder)[:-1], r"not whole.*\n.*bytes\n"), (lambda folder: whole(folder) + b"x", "not whole"),
    (lambda folder: np.ones(3).tobytes(), "not a checkpoint"),
    (with_header(lambda header: None), "something else wrote"), (with_header(lambda header: {"funcgrad": "[1]"}), "something else wrote"),
    (with_header(lambda header: {"funcgrad": json.dumps({**header, "format": 99})}), r"later version.*\n.*format 99, funcgrad 0"),
])
def test_foreign_and_broken_files(tmp_path, make, text):
    (tmp_path / "f").write_bytes(make(tmp_path))
    for read in (training.load, training.read_info):
        with pytest.raises(training.CheckpointError, match=text):
            read(tmp_path / "f")
    with pytest.raises(FileNotFoundError):
        training.load(tmp_path / "absent")


def test_without_safetensors(tmp_path, monkeypatch):
    from funcgrad.training import storage
    monkeypatch.setattr(storage, "safetensors", None)
    for call in (lambda: training.save(tmp_path / "t", {}), lambda: training.load(tmp_path / "t")):
        with pytest.raises(ImportError, match=r'pip install "funcgrad\[train\]"'):
            call()


# ---------------------------------------------------------------- a folder of them


def test_which_are_kept(tmp_path):
    checkpoints = training.Checkpoints(tmp_path / "new" / "folder", keep=2)
    assert checkpoints.latest() is checkpoints.best() is None
    (tmp_path / "new" / "folder" / "step-00000001.safetensors.x7a").write_text("left behind by a killed process")
    (tmp_path / "new" / "folder" / "notes.txt").write_text("mine")
    for step, score in [(1, 3.0), (2, 1.0), (3, None), (10**9, 2.0), (5, 4.0)]:
        assert os.path.exists(checkpoints.save(step, {"w": np.ones(step % 7)}, score))
    assert sorted(os.listdir(checkpoints.folder)) == [
        "notes.txt", "step-00000002.safetensors", "step-00000005.safetensors", "step-1000000000.safetensors"]
    assert checkpoints.latest().endswith("step-1000000000.safetensors") and checkpoints.best().endswith("step-00000002.safetensors")
    path = Path(checkpoints.latest())
    path.write_bytes(path.read_bytes()[:-3])
    assert checkpoints.latest().endswith("step-00000005.safetensors")
    with pytest.raises(ValueError, match="at least 1"):
        training.Checkpoints(tmp_path, keep=0)


def test_a_folder_without_a_whole_file_is_not_begun_anew(tmp_path):
    checkpoints = training.Checkpoints(tmp_path)
    checkpoints.save(3, {"w": np.ones(2)})
    (tmp_path / "step-00000003.safetensors").write_bytes(b"cut")
    with pytest.raises(training.CheckpointError, match=r"(?s)no file is whole.*step-00000003.safetensors in .*another folder"):
        checkpoints.latest()


# ---------------------------------------------------------------- runs that are interrupted

RUN = '''
import numpy as np
import funcgrad as fg, funcgrad.numpy as fnp
from funcgrad import nn, optim, training

KEY = fg.random.key(1)
X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
MODEL = nn.Sequential(nn.Linear(4, 8), nn.tanh, nn.Linear(8, 3))

def loss(params, state, batch, key):
    y = MODEL(params, batch["x"] + 0.1 * fg.random.normal(key, batch["x"].shape, np.float32))
    return fnp.mean((y - batch["x"][:, :3]) ** 2), ({"steps": state["steps"] + 1}, {"size": fnp.mean(y * y)})

def run(folder, **options):
    options = {"epochs": 4, "every": 3, "evaluate": lambda params, state: {"score": -abs(float(state["steps"]) - 6)},
               "early_stopping": training.EarlyStopping("eval_score", mode="max", patience=99),
               "checkpoints": training.Checkpoints(folder, keep=2), **options}
    data = training.from_arrays({"x": X}).shuffle(KEY).batch(6).map(lambda batch: {"x": 2 * batch["x"]}).prefetch(2)
    return training.fit(loss, MODEL.init(KEY)[0], data, state={"steps": fnp.zeros((), np.int32)}, optimizer=optim.adam(1e-2),
                        key=KEY, **options)
'''
CHILD = RUN + '''
import os, signal, sys

folder, place, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
calls = {"n": 0}

def at(name, fatal):
    real = getattr(os, name)
    def call(*args):
        calls["n"] += 1
        if calls["n"] == count:
            fatal(real, *args)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)
    setattr(os, name, call)

if place == "half written":
    at("fsync", lambda real, handle: os.ftruncate(handle, os.fstat(handle).st_size // 2))
elif place == "before its name":
    at("replace", lambda real, *args: None)
elif place == "with its name":
    at("replace", lambda real, *args: real(*args))
run(folder, log=folder + "/log")
'''
HERE = {}
exec(RUN, HERE)
run = HERE["run"]


def outcome(result):
    history = [{name: value for name, value in line.items() if name != "seconds"} for line in result.history]
    return bits(result[:3]) + bits(result.best.params), result.step, history, result.best.step, result.best.value


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    result = outcome(run(folder))
    assert result[1] == 16 and result[3] == 6 and len(result[2]) == 6
    assert len(os.listdir(folder)) == 3  # the last two, and the best
    return result


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("place, count, step", [("half written", 7, 9), ("before its name", 3, 6), ("with its name", 2, 6)])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, uninterrupted, place, count, step):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), place, str(count)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": path}, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left_behind = [name for name in os.listdir(tmp_path) if ".safetensors." in name]
    assert bool(left_behind) == (place != "with its name")
    assert training.Checkpoints(tmp_path).latest().endswith(f"{step:08d}.safetensors")
    result = run(tmp_path, resume=True, log=tmp_path / "log")
    assert outcome(result) == uninterrupted
    assert [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()] == result.history
    assert not [name for name in os.listdir(tmp_path) if ".safetensors." in name]


def test_a_run_that_failed_goes_on_from_any_record(tmp_path, uninterrupted):
    def fail(record):
        if record.step == 12:
            raise RuntimeError("the lights went out")

    with pytest.raises(RuntimeError, match="lights"):
        run(tmp_path, callbacks=[fail])
    for _ in range(2):  # the second time there is nothing left to do
        assert outcome(run(tmp_path, resume=True)) == uninterrupted


def test_runs_that_do_not_belong_together(tmp_path):
    run(tmp_path, epochs=1)
    with pytest.raises(ValueError, match=r"holds the checkpoints of a run.*\n.*step-00000004(.*\n)*.*resume=True"):
        run(tmp_path)
    model, key = HERE["MODEL"], HERE["KEY"]
    arguments = {"optimizer": optim.adam(1e-2), "state": {"steps": fnp.zeros((), np.int32)}, "key": key, "epochs": 1,
                 "checkpoints": tmp_path, "resume": True}
    data, params = training.from_arrays({"x": HERE["X"]}), model.init(key)[0]
    with pytest.raises(ValueError, match=r"the run had other data.*\n.*10 batches in an epoch\n.*4, as in "):
        training.fit(HERE["loss"], params, data.batch(2), **arguments)
    with pytest.raises(training.CheckpointError, match=r"params\.2: dict, expected nothing"):
        training.fit(HERE["loss"], {"0": params["0"]}, data.batch(6), **arguments)
    with pytest.raises(training.CheckpointError, match=r"optimizer_state\.0: ScaleByAdamState, expected EmptyState"):
        training.fit(HERE["loss"], params, data.batch(6), **{**arguments, "optimizer": optim.sgd(0.1)})
    (other := training.Checkpoints(tmp_path / "other")).save(1, {"params": params})
    with pytest.raises(training.CheckpointError, match="step-00000001.safetensors without epoch"):
        training.fit(HERE["loss"], params, data.batch(6), **{**arguments, "checkpoints": other})
