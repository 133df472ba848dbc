"""The main job, ``python -m funcgrad``, in a short form: its report, its files, its errors."""
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
from funcgrad import nn
from funcgrad.__main__ import main

ROOT = Path(__file__).resolve().parent.parent
safetensors_numpy = pytest.importorskip("safetensors.numpy")


def launch(folder, *arguments, shadow=None, **options):
    """Runs the program in a folder; modules in ``shadow`` come before the installed ones."""
    path = os.pathsep.join([*([str(shadow)] if shadow else []), str(ROOT)])
    return subprocess.run([sys.executable, "-m", "funcgrad", *arguments], cwd=folder, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": path}, **{"capture_output": True, **options})


def accuracy(report):
    return float(re.search(r"held out +accuracy ([\d.]+)%", report)[1])


def blobs(labels=("left", "right", "up"), count=150, features=(2, 2)):
    """Well separated examples of a few classes."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(len(labels), size=count)
    centres = rng.normal(size=(len(labels), *features)) * 6
    return centres[numbers] + rng.normal(size=(count, *features)), np.array(labels)[numbers]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---------------------------------------------------------------- the digits


def test_the_main_job(tmp_path):
    done = launch(tmp_path, "--epochs", "8")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress bar and no warnings where nobody watches
    assert accuracy(done.stdout) >= 95
    assert "1438 examples to train on, 359 held out, 64 features, 10 classes" in done.stdout
    worst = float(re.search(r"gradients +agree with finite differences: worst relative error (\S+),", done.stdout)[1])
    assert worst < 1e-6
    for path in ("0.bias", "0.weight", "2.bias", "2.weight"):
        assert re.search(rf"^{re.escape(path)} +\S+ +\S+e\S+ +\S+e\S+$", done.stdout, re.M)
    assert "saved       ./funcgrad-digits.safetensors" in done.stdout
    assert len(done.stdout.splitlines()) <= 20 and max(map(len, done.stdout.splitlines())) <= 100
    assert os.listdir(tmp_path) == ["funcgrad-digits.safetensors"]  # and no temporary file
    arrays = safetensors_numpy.load_file(tmp_path / "funcgrad-digits.safetensors")
    assert arrays["0.weight"].shape == (64, 256) and arrays["0.weight"].dtype == np.float32
    assert set(arrays) == {"0.weight", "0.bias", "2.weight", "2.bias", "input.mean", "input.scale"}


def test_the_same_seed_gives_the_same_file(here, capsys):
    for name in ("a", "b"):
        assert main(["--epochs", "1", "--seed", "3", "--save", name]) == 0
    assert main(["--epochs", "1", "--seed", "4", "--save", "c"]) == 0
    a, b, c = ((here / name).read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("seed", range(5))
def test_the_accuracy_is_reliable(here, capsys, seed):
    assert main(["--seed", str(seed)]) == 0
    assert accuracy(capsys.readouterr().out) >= 97.5


def test_a_wrong_rule_is_noticed(here, capsys, monkeypatch):
    gelu = nn.gelu
    wrong = fg.custom_jvp(lambda x: gelu(x))
    wrong.defjvp(lambda primals, tangents: (gelu(*primals), 1.01 * fg.jvp(gelu, primals, tangents)[1]))
    monkeypatch.setattr(nn, "gelu", wrong)
    assert main(["--epochs", "1", "--save", "p"]) == 1
    assert "gradients   DIFFER from finite differences" in capsys.readouterr().out


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_other_optimizers(here, capsys, optimizer):
    assert main(["--optimizer", optimizer, "--epochs", "4", "--model", "32"]) == 0
    report = capsys.readouterr().out
    assert f"4 epochs of {optimizer}" in report and accuracy(report) >= 90


def test_saved_parameters_are_evaluated_and_continued(here, capsys):
    assert main(["--model", "16", "--epochs", "3", "--save", "p"]) == 0
    first = accuracy(capsys.readouterr().out)
    assert main(["--load", "p", "--epochs", "0", "--save", "q"]) == 0
    report = capsys.readouterr().out
    assert accuracy(report) == first and "64-16-10" in report and "from p" in report and "trained" not in report
    assert (here / "p").read_bytes() == (here / "q").read_bytes()
    assert main(["--load", "p", "--epochs", "3", "--seed", "5", "--save", "p"]) == 0
    assert accuracy(capsys.readouterr().out) > first - 1


# ---------------------------------------------------------------- the user's data


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels"), ("X_train", "y_train"), ("data", "target")])
@pytest.mark.parametrize("labels", [("left", "right", "up"), (3, 5, 7), (b"a", b"b")], ids=["str", "int", "bytes"])
def test_data_of_the_user(here, capsys, names, labels):
    x, y = blobs(labels)
    np.savez(here / "mine.npz", **dict(zip(names, (x, y), strict=True)))
    assert main(["--data", "mine.npz", "--model", "linear", "--save", "p"]) == 0
    report = capsys.readouterr().out
    assert f"120 examples to train on, 30 held out, 4 features, {len(labels)} classes" in report
    assert accuracy(report) >= 95


def test_given_test_examples_are_held_out(here, capsys):
    x, y = blobs()
    np.savez(here / "mine.npz", x_train=x[:100], y_train=y[:100], x_test=x[100:], y_test=y[100:])
    assert main(["--data", "mine.npz", "--model", "4,3", "--epochs", "5", "--save", "p"]) == 0
    assert "100 examples to train on, 50 held out" in capsys.readouterr().out


def test_the_file_is_named_after_the_data(here, capsys):
    np.savez(here / "mine.npz", x=X, y=Y)
    assert main(["--data", "mine.npz", "--model", "linear", "--epochs", "1"]) == 0
    assert sorted(os.listdir(here)) == ["funcgrad-mine.safetensors", "mine.npz"]
    report = capsys.readouterr().out
    assert "saved       ./funcgrad-mine.safetensors" in report
    assert main(["--data", "mine.npz", "--load", "funcgrad-mine.safetensors", "--epochs", "0"]) == 0
    assert "saved" not in capsys.readouterr().out and len(os.listdir(here)) == 2


@pytest.mark.parametrize("shape", [(4,), (2, 2)], ids=["table", "images"])
def test_how_features_are_scaled(here, capsys, shape):
    x, y = blobs(features=shape)
    np.savez(here / "mine.npz", x_train=x, y_train=y, x_test=x[:9] + 100, y_test=y[:9])
    assert main(["--data", "mine.npz", "--model", "linear", "--epochs", "0", "--save", "p"]) == 0
    arrays, rows = safetensors_numpy.load_file("p"), x.reshape(150, 4)
    np.testing.assert_allclose(arrays["input.mean"], rows.mean(0), rtol=1e-5)
    expected = rows.std(0) if shape == (4,) else np.full(4, np.sqrt(rows.var(0).mean()))
    np.testing.assert_allclose(arrays["input.scale"], expected, rtol=1e-5)


def test_constant_features_and_tiny_batches(here, capsys):
    x, y = blobs(features=(4,))
    x[:, 0] = 7
    np.savez(here / "mine.npz", x=x, y=y[:, None])
    assert main(["--data", "mine.npz", "--model", "linear", "--epochs", "1", "--batch-size", "7", "--save", "p"]) == 0
    assert "gradients   agree" in capsys.readouterr().out


# ---------------------------------------------------------------- errors: one line, status 2

X, Y = blobs()
WITH_NAN = X.copy()
WITH_NAN[17, 0, 1] = np.nan


@pytest.mark.parametrize("arrays, error", [
    ({"a": X, "b": Y}, r"no features and labels among its arrays a, b; expected x and y,"),
    ({"x": X}, r"no features and labels among its arrays x;"),
    ({"x": X, "y": Y[:-3]}, r"150 examples but 147 labels"),
    ({"x": WITH_NAN, "y": Y}, r"example 17 has a feature that is NaN"),
    ({"x": X, "y": np.zeros(150, int)}, r"at least two classes, but the labels hold only 0"),
    ({"x": X.astype(str), "y": Y}, r"the features are <U\d+; expected real numbers"),
    ({"x": X, "y": np.linspace(0, 1, 150)}, r"the labels are float64; expected integers or strings"),
    ({"x": X, "y": np.zeros((150, 2), int)}, r"the labels have shape \(150, 2\)"),
    ({"x": X[:0], "y": Y[:0]}, r"the features have shape \(0, 2, 2\)"),
    ({"x": X, "y": Y.astype(object)}, r"an array of Python objects; save numbers or strings"),
    ({"x_train": X, "y_train": Y, "x_test": X[:, :1], "y_test": Y}, r"x_test has 150 examples of 2 features"),
], ids=["names", "one array", "lengths", "nan", "one class", "text", "real labels", "2-d", "empty", "objects", "test"])
def test_data_that_cannot_be_used(here, capsys, arrays, error):
    np.savez(here / "mine.npz", **arrays)
    assert main(["--data", "mine.npz"]) == 2
    found = capsys.readouterr()
    assert re.fullmatch(rf"funcgrad: mine\.npz: .*{error}.*\n", found.err) and found.out == ""


@pytest.mark.parametrize("arguments, error", [
    (["--data", "absent.npz"], r"absent\.npz: No such file or directory"),
    (["--device", "tpu"], r"--device: there is no such device; found: 'tpu'; expected: 'cpu', 'cuda'"),
    (["train", "clipping", "--device", "tpu"], "--device: there is no such device; found: 'tpu'"),
    (["--data", "text.npz"], r"text\.npz: not an \.npz file"),
    (["--data", "one.npy"], r"one\.npy: one array without a name"),
    (["--data", "."], r"\.: Is a directory"),
    (["--load", "absent"], r"absent: No such file or directory"),
    (["--load", "text.npz"], r"text\.npz: not a file of parameters"),
    (["--load", "foreign"], r"foreign: not a file of parameters"),
    (["--epochs", "1", "--model", "linear", "--save", "no/such/place"], r"no/such/place: .*there is no folder"),
    (["--save", "."], r"\.: cannot save the parameters: it is a folder"),
    (["--epochs", "3", "--learning-rate", "1e30", "--optimizer", "sgd"], r"the loss became nan in epoch \d"),
])
def test_other_errors_of_users(here, capsys, arguments, error):
    (here / "text.npz").write_text("hello")
    np.save(here / "one.npy", X)
    safetensors_numpy.save_file({"w": np.ones(3)}, here / "foreign")
    assert main(arguments) == 2
    assert re.fullmatch(rf"funcgrad: {error}.*\n", capsys.readouterr().err)


def test_parameters_that_do_not_fit(here, capsys):
    assert main(["--epochs", "0", "--model", "16", "--save", "p"]) == 0
    np.savez(here / "mine.npz", x=X, y=Y)
    np.savez(here / "letters.npz", x=np.ones((40, 64)), y=np.array(list("abcdefghij") * 4))
    capsys.readouterr()
    for arguments, error in [
            (["--model", "32"], r"0\.bias has shape \(16,\) in the file and has shape \(32,\) in the model"),
            (["--model", "16,16"], r"2\.bias has shape \(10,\) in the file and has shape \(16,\) in the model"),
            (["--data", "mine.npz"], r"0\.weight has shape \(64, 16\) in the file and has shape \(4, 16\) in the model"),
            (["--data", "letters.npz"], r"for the classes 0, 1, .*; letters\.npz has a, b")]:
        assert main(["--load", "p", "--epochs", "0", *arguments]) == 2
        assert re.fullmatch(rf"funcgrad: p: .*{error}.*\n", capsys.readouterr().err)


@pytest.mark.parametrize("arguments, error", [
    (["--model", "12,x"], "neither sizes such as 128,64 nor the word linear"), (["--model", "0"], "neither sizes"),
    (["--epochs", "-1"], "not an integer of at least 0"), (["--batch-size", "0"], "not an integer of at least 1"),
    (["--learning-rate", "nan"], "not a number of at least 0"), (["--optimizer", "lbfgs"], "invalid choice")])
def test_options_that_cannot_be_used(capsys, arguments, error):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and error in capsys.readouterr().err


def test_an_old_file_survives_a_failed_save(here, capsys, monkeypatch):
    (here / "p").write_text("old")
    monkeypatch.setattr(os, "replace", lambda a, b: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert main(["--epochs", "0", "--save", "p"]) == 2
    assert (here / "p").read_text() == "old" and os.listdir(here) == ["p"]
    assert "p: cannot save the parameters: No space left on device" in capsys.readouterr().err


# ---------------------------------------------------------------- the terminal


def test_help_says_what_a_file_may_hold(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    for part in ("images and labels", "x_train", "--learning-rate", "python -m funcgrad --data", "linear"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_bar_where_somebody_watches(tmp_path):
    termios = pytest.importorskip("termios")
    mine, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    os.set_blocking(mine, False)  # so that a missing bar fails the test instead of stopping it
    with os.fdopen(mine, "rb", buffering=0) as reader:
        done = launch(tmp_path, "--epochs", "2", "--model", "16", capture_output=False, stdout=subprocess.PIPE,
                      stderr=theirs)
        shown = (reader.read(100_000) or b"").decode()
        os.close(theirs)
    assert done.returncode == 0 and "epoch" not in done.stdout.split("trained")[0]
    assert "training" in shown and "0/46" in shown


def test_without_the_packages_of_the_extra(tmp_path):
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    for name in ("tqdm", "safetensors"):
        (shadow / f"{name}.py").write_text("raise ImportError")
    done = launch(tmp_path, "--epochs", "1", "--model", "linear", shadow=shadow)
    assert done.returncode == 0 and "gradients   agree" in done.stdout, done.stderr
    assert 'not saved   files of parameters need the package safetensors: pip install "funcgrad[train]"' in done.stdout
    done = launch(tmp_path, "--save", "p", shadow=shadow)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ('funcgrad: files of parameters need the package safetensors: '
                           'pip install "funcgrad[train]"\n')
