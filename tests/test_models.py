"""The models of ``python -m funcgrad train``, in a short form, and the texts and images they learn from."""
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.__main__ import main
from funcgrad.training.data import UserError
from funcgrad.training.images import load_images
from funcgrad.training.models import adding, autoencoder, clipping, digits, text
from funcgrad.training.text import OTHER, load_text, standard_library

KEY = fg.random.key(0)


def train(capsys, *arguments):
    assert main(["train", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_the_digits_are_learned(capsys, tmp_path):
    printed = train(capsys, "digits", "--steps", 60, "--log", tmp_path / "log.jsonl")
    assert float(re.search(r"held out    accuracy ([\d.]+)%", printed)[1]) > 80
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 10 and lines[-1]["step"] == 60 and lines[-1]["loss"] < lines[0]["loss"]


def test_a_log_that_cannot_be_written_is_told_at_once(capsys, tmp_path):
    assert main(["train", "adding", "--log", str(tmp_path / "absent" / "log")]) == 2
    assert "cannot save the log: there is no folder" in capsys.readouterr().err


def test_a_run_goes_on_from_its_checkpoints(capsys, tmp_path):
    whole = train(capsys, "autoencoder", "--steps", 20)
    train(capsys, "autoencoder", "--steps", 20, "--checkpoints", tmp_path)
    for file in sorted(tmp_path.glob("step-*"))[1:]:
        file.unlink()
    again = train(capsys, "autoencoder", "--steps", 20, "--checkpoints", tmp_path)
    assert "step 2 " not in again and whole[whole.index("held out"):] == again[again.index("held out"):]
    (tmp_path / "step-00000020.safetensors").write_bytes(b"")
    assert main(["train", "digits", "--steps", "20", "--checkpoints", str(tmp_path)]) == 2
    assert "model" in capsys.readouterr().err


def test_what_ends_a_run_is_said_in_a_line(capsys, tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "few.npz", x=generator.random((200, 4, 4)), y=np.arange(200) % 2)
    folder = tmp_path / "run"
    train(capsys, "autoencoder", "--steps", 10, "--checkpoints", folder)
    for place, error in ((folder, "the run had other data"), (tmp_path / "few.npz", "File exists")):
        assert main(["train", "autoencoder", "--steps", "10", "--data", str(tmp_path / "few.npz"), "--checkpoints", str(place)]) == 2
        assert error in capsys.readouterr().err

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(autoencoder, "fitted", interrupted)
    for options, said in (([], "nothing was saved"), (["--checkpoints", str(folder)], f"the last checkpoint is in {folder}")):
        assert main(["train", "autoencoder", *options]) == 130
        assert f"interrupted, {said}" in capsys.readouterr().err


def test_images_are_moved_by_a_pixel():
    image = np.arange(12.0).reshape(3, 4, 1)
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    found = np.asarray(digits.moved(KEY, fnp.asarray(np.stack([image] * 40))))
    windows = [padded[i:i + 3, j:j + 4] for i in range(3) for j in range(3)]
    which = [[n for n, window in enumerate(windows) if np.array_equal(window, one)] for one in found]
    assert all(len(numbers) == 1 for numbers in which) and len({numbers[0] for numbers in which}) == 9


def test_a_folder_for_each_class(tmp_path, capsys):
    generator = np.random.default_rng(0)
    for name, level in (("dark", 40), ("bright", 200)):
        (tmp_path / name).mkdir()
        for i in range(20):
            pixels = np.clip(generator.normal(level, 20, (6, 5, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    data = load_images(str(tmp_path))
    assert data.images.shape == (40, 6, 5, 3) and data.classes == ("bright", "dark")
    assert data.images[data.labels == 0].mean() > 150 and len(data.train) + len(data.held_out) == 40
    assert "accuracy 100.00%" in train(capsys, "digits", "--data", tmp_path, "--steps", 30)
    (tmp_path / "dark" / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="broken.png: not an image that can be read"):
        load_images(str(tmp_path))


@pytest.mark.parametrize("make, error", [
    (lambda path: None, "expected a folder for each of at least two classes, found none"),
    (lambda path: [(path / name).mkdir() for name in "ab"], "a: no images"),
])
def test_folders_that_cannot_be_used(tmp_path, make, error):
    make(tmp_path)
    with pytest.raises(UserError, match=error):
        load_images(str(tmp_path))


@pytest.mark.parametrize("shape, error", [((7,), r"an example has the shape (7,); expected images"),
                                          ((1, 9), "images of 1 by 9 pixels; expected 2 by 2"), ((4, 4), "all pixels of all images are equal")])
def test_arrays_that_are_no_images(tmp_path, capsys, shape, error):
    x = np.ones((20, *shape))
    x[:, :1] = 1 if shape == (4, 4) else 2
    x[0] = 1
    np.savez(tmp_path / "rows.npz", x=x, y=np.arange(20) % 2)
    assert main(["train", "digits", "--data", str(tmp_path / "rows.npz")]) == 2
    assert error in capsys.readouterr().err


# ---------------------------------------------------------------- text


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(text, "LENGTH", 24)
    monkeypatch.setattr(text, "WRITTEN", 12)
    monkeypatch.setattr(text, "EVALUATED", 16)


def test_the_transformer_learns_a_text(capsys, tmp_path, small):
    (tmp_path / "song.txt").write_text("the wheels on the bus go round and round, " * 200)
    printed = train(capsys, "text", "--data", tmp_path / "song.txt", "--steps", 40)
    assert float(re.search(r"held out    ([\d.]+) nats", printed)[1]) < 0.5 * math.log(17)
    assert "it writes" in printed


def test_writing_with_a_cache_is_writing_without():
    model = text.Writer(11, features=16, heads=2, depth=2)
    params, state = model.init(KEY)
    start, count = np.array([3, 1, 4], np.uint8), 6
    found = np.asarray(text.write(model, params, KEY, start, count, 1e-6))  # the likeliest characters
    tokens = list(start)
    for _ in range(count):
        tokens.append(int(fnp.argmax(model(params, np.array([tokens]))[0, -1])))
    assert list(found) == tokens[3:]
    assert len(text.write_long(model, params, KEY, start, 7)) == 9  # three pieces of three


def test_later_characters_do_not_change_earlier_predictions():
    model = text.Writer(11, features=16, heads=2, depth=2)
    params, _ = model.init(KEY)
    tokens = np.array([[3, 1, 4, 1, 5]])
    changed = tokens.copy()
    changed[0, 3] = 9
    before, after = model(params, tokens), model(params, changed)
    np.testing.assert_allclose(before[:, :3], after[:, :3], rtol=1e-5, atol=1e-6)
    assert not np.allclose(before[:, 3:], after[:, 3:])


def test_the_source_of_the_library_is_a_text():
    files = standard_library()
    assert len(files) > 100 and any("def " in file for file in files)


def test_texts_and_their_alphabet(tmp_path):
    (tmp_path / "a.txt").write_text("naïve café\n" * 300, encoding="utf-8")
    data = load_text(str(tmp_path / "a.txt"))
    assert data.alphabet[-1] == OTHER and data.decode(data.encode("café, no")) == f"café{OTHER} n{OTHER}"
    assert len(data.train) + len(data.held_out) == 3300 and data.train.dtype == np.uint8


@pytest.mark.parametrize("content, error", [
    (None, "No such file"), (b"short", "5 characters; a model needs at least 2000"), (b"\xff\xfe" * 2000, "not a text in UTF-8"),
])
def test_texts_that_cannot_be_used(tmp_path, capsys, content, error):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    assert main(["train", "text", "--data", str(path)]) == 2
    assert error in capsys.readouterr().err


# ---------------------------------------------------------------- sequences


def test_the_adding_problem():
    batch = adding.sequences(KEY, 50, 20)
    assert batch["x"].shape == (50, 20, 2)
    np.testing.assert_array_equal(batch["x"][:, :10, 1].sum(1), 1)
    np.testing.assert_array_equal(batch["x"][:, 10:, 1].sum(1), 1)
    np.testing.assert_allclose(batch["y"], (batch["x"][..., 0] * batch["x"][..., 1]).sum(1), rtol=1e-6)


def test_both_networks_run_and_show_their_memory(capsys, monkeypatch):
    monkeypatch.setattr(adding, "LENGTH", 30)
    monkeypatch.setattr(adding, "AGES", (0, 20))
    printed = train(capsys, "adding", "--steps", 10)
    assert len(re.findall(r"squared error \d", printed)) == 2
    before = [float(x) for x in re.search(r"\n20 +(\S+) +(\S+)", printed).groups()]
    assert before[0] < before[1] / 10  # the plain network forgets


def test_clipping_cures(capsys):
    printed = train(capsys, "clipping", "--steps", 40)
    without, clipped = printed.split("norm clipped")
    assert "the loss is no longer a number" in without and "squared error" in clipped and "nan" not in clipped


def test_the_autoencoder_draws(capsys):
    printed = train(capsys, "autoencoder", "--steps", 150)
    bound, alone = (float(re.search(pattern, printed)[1]) for pattern in (r"([\d.]+) nats an image", r"pixel by pixel: ([\d.]+)"))
    assert bound < alone and printed.count("\n") > 16


def test_the_bound_of_the_autoencoder():
    model = autoencoder.Autoencoder(6, hidden=8, latent=2)
    params, _ = model.init(KEY)
    x = np.random.default_rng(0).random((4, 6)).astype(np.float32)
    cost, divergence = autoencoder.bound(model, params, x, None)
    moments = np.asarray(model.parts()["encoder"](params["encoder"], x), np.float64)
    mean, deviation = moments[:, :2], np.exp(moments[:, 2:])
    expected = np.sum(np.log(1 / deviation) + (deviation**2 + mean**2) / 2 - 0.5, -1)
    np.testing.assert_allclose(divergence, expected, rtol=1e-4, atol=1e-5)
    probability = 1 / (1 + np.exp(-np.asarray(model.parts()["decoder"](params["decoder"], fnp.asarray(mean)), np.float64)))
    np.testing.assert_allclose(cost - divergence, -np.sum(x * np.log(probability) + (1 - x) * np.log(1 - probability), -1), rtol=1e-4)


def test_the_first_gradient_grows_with_the_length():
    model = adding.Adder(fg.nn.RNN(2, adding.FEATURES, activation=fg.nn.relu))
    params = clipping.first_params(model, KEY)
    norms = [clipping.first_norm(model, params, length, KEY) for length in (10, 20, 40)]
    assert norms[0] < norms[1] / 5 < norms[2] / 25


def test_help_names_the_models(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "an LSTM that remembers two numbers" in capsys.readouterr().out
