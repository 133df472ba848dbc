"""The main job: trains a classifier, checks its gradients, and saves its parameters.

In: options, see ``python -m funcgrad --help``. Out: a report on the terminal and a file of parameters. The exit
status is 0, or 2 when something that was given cannot be used, or 1 when the gradients are wrong.
"""
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import random, tree
from funcgrad.training import files, program, storage
from funcgrad.training.classifier import (
    DEFAULT_LEARNING_RATES,
    OPTIMIZERS,
    GradientRow,
    build_model,
    check_gradients,
    cosine_schedule,
    evaluate,
    hidden_sizes,
    objective,
)
from funcgrad.training.data import Dataset, UserError, load_dataset, standardisation
from funcgrad.training.devices import chosen_device
from funcgrad.training.loop import HAS_BAR, Record, fit
from funcgrad.training.nonfinite import NonFiniteLossError
from funcgrad.training.pipeline import from_arrays

DEFAULT_HIDDEN = (256,)
TOLERANCE = 1e-5
"""The largest relative error against finite differences with which the gradients count as right."""
CHECKED_EXAMPLES = 128
LEAST_EPOCHS, LEAST_STEPS = 30, 600

DESCRIPTION = "Train a classifier, check its gradients against finite differences, and save its parameters."
EPILOG = """\
the data:
  Without --data, the 1797 handwritten digits of 8x8 pixels that come with funcgrad. A file is an .npz with the arrays
  x and y, images and labels, features and labels, data and target, or x_train and y_train (with x_test and y_test,
  these are held out; otherwise a fifth of the examples is). Features are numbers of any shape, one row an example;
  they are flattened, and standardised with the mean and deviation of the training examples (one deviation for all
  pixels of images). Labels are integers or strings.

examples:
  python -m funcgrad                                                 the digits, one hidden layer
  python -m funcgrad --model 128,64 --epochs 50 --save my.st         two hidden layers, another file
  python -m funcgrad --data iris.npz --model linear                  your data, softmax regression
  python -m funcgrad --load funcgrad-digits.safetensors --epochs 0   evaluate saved parameters
  python -m funcgrad --device cuda                                   on a GPU (pip install "funcgrad[cuda13]")
  python -m funcgrad train --help                                    other models: images, text, sequences
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program and returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if arguments[:1] == ["train"]:
            return program.main(arguments[1:], number)
        options = parse(arguments)
        with chosen_device(options.device):
            return run(options)
    except UserError as error:
        print(f"funcgrad: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("funcgrad: interrupted, nothing was saved", file=sys.stderr)
        return 130


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="funcgrad", description=DESCRIPTION, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", metavar="FILE.npz", help="examples to learn from (default: the digits)")
    add("--model", type=model_sizes, metavar="SIZES", help="sizes of the hidden layers, such as 128,64, or linear "
        "(default: 256, or with --load the sizes in the file)")
    add("--epochs", type=number(int, 0), metavar="N", help="passes over the training examples (default: "
        f"{LEAST_EPOCHS}, or more if the examples are so few that this makes less than {LEAST_STEPS} steps)")
    add("--batch-size", type=number(int, 1), default=64, metavar="N", help="examples in a step (default: 64)")
    add("--learning-rate", type=number(float, 0), metavar="X", help="size of the first steps; it falls to 0 along a "
        "cosine (default: " + ", ".join(f"{x:g} for {name}" for name, x in DEFAULT_LEARNING_RATES.items()) + ")")
    add("--optimizer", choices=tuple(OPTIMIZERS), default="adam", help="how steps are taken (default: adam)")
    add("--device", default="cpu", metavar="NAME", help="where to compute: cpu (the default), cuda, cuda:1")
    add("--seed", type=number(int, 0), default=0, metavar="N", help="of the initial parameters and the order of the "
        "examples (default: 0)")
    add("--save", metavar="PATH", help="where to save the parameters (default: ./funcgrad-NAME.safetensors, with the "
        "name of the data; with --load and --epochs 0, nothing is saved)")
    add("--load", metavar="PATH", help="parameters to continue from, saved before")
    return parser.parse_args(arguments)


def model_sizes(text: str) -> tuple[int, ...]:
    """``128,64`` -> (128, 64); ``linear`` -> ()."""
    if text == "linear":
        return ()
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither sizes such as 128,64 nor the word linear")
    return sizes


def number(kind: Callable, least: float) -> Callable[[str], Any]:
    """A converter that refuses numbers below ``least``, and NaN and infinity."""

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = float("nan")
        if not least <= value < float("inf"):
            what = "an integer" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} of at least {least}")
        return value

    return convert


def run(options: argparse.Namespace) -> int:
    """Loads, trains, evaluates, checks and saves; prints the report."""
    if not storage.can_save() and (options.save or options.load):
        raise UserError(f"files of parameters need the package safetensors: {storage.INSTALL}")
    data = load_dataset(options.data)
    path = options.save
    if path is None and not (options.load and options.epochs == 0):
        path = f"./funcgrad-{data.short_name}.safetensors"
    if path is not None:
        files.check_place(path)
    key = random.key(options.seed)
    model, params, saved = starting_point(options, data, random.fold_in(key, 0))
    features = (data.features - saved.mean) / saved.scale
    x, y = features[data.train], data.labels[data.train]
    held_x, held_y = features[data.held_out], data.labels[data.held_out]
    sizes = [features.shape[1], *hidden_sizes(params), len(data.classes)]
    count = sum(leaf.size for leaf in tree.leaves(params))
    print(f"data        {data.name}: {len(x)} examples to train on, {len(held_x)} held out, {sizes[0]} features, "
          f"{sizes[-1]} classes")
    print(f"model       {'-'.join(map(str, sizes))}, {count:,} parameters"
          + (f", from {options.load}" if options.load else ""))
    params = train(options, model, params, x, y, random.fold_in(key, 1))
    loss, correct = evaluate(model, params, held_x, held_y)
    print(f"held out    accuracy {correct / len(held_x):.1%} ({correct} of {len(held_x)}), loss {loss:.4f}")
    rows = check_gradients(model, params, x[:CHECKED_EXAMPLES], y[:CHECKED_EXAMPLES], random.fold_in(key, 2))
    right = report_gradients(rows)
    if path is not None and storage.can_save():
        files.save(path, files.Saved(params, saved.mean, saved.scale, data.classes))
        print(f"saved       {path}")
    elif path is not None:
        print(f"not saved   files of parameters need the package safetensors: {storage.INSTALL}")
    return 0 if right else 1


def starting_point(options: argparse.Namespace, data: Dataset, key: Any) -> tuple[Any, Any, files.Saved]:
    """The model, its first parameters, and the standardisation of its inputs: new, or from a file."""
    features, classes = data.features.shape[1], len(data.classes)
    if not options.load:
        model = build_model(features, DEFAULT_HIDDEN if options.model is None else options.model, classes)
        params = model.init(key)[0]
        return model, params, files.Saved(params, *standardisation(data), data.classes)
    saved = files.load(options.load)
    try:
        model = build_model(features, hidden_sizes(saved.params) if options.model is None else options.model, classes)
    except (KeyError, ValueError, IndexError):
        raise UserError(f"{options.load}: not the parameters of a classifier") from None
    inputs = {"input": {"mean": saved.mean, "scale": saved.scale}}
    expected = {"input": {"mean": data.features[0], "scale": data.features[0]}}
    files.check_fits(options.load, saved.params | inputs, model.init(key)[0] | expected)
    if saved.classes != data.classes:
        found, wanted = ", ".join(saved.classes), ", ".join(data.classes)
        raise UserError(f"{options.load}: the parameters are for the classes {found}; {data.name} has {wanted}")
    return model, saved.params, saved


def train(options: argparse.Namespace, model: Any, params: Any, x: np.ndarray, y: np.ndarray, key: Any) -> Any:
    """The parameters after all epochs; shows progress."""
    steps_each = -(-len(x) // options.batch_size)
    epochs = max(LEAST_EPOCHS, -(-LEAST_STEPS // steps_each)) if options.epochs is None else options.epochs
    if not epochs:
        return params
    rate = DEFAULT_LEARNING_RATES[options.optimizer] if options.learning_rate is None else options.learning_rate
    optimizer = OPTIMIZERS[options.optimizer](cosine_schedule(rate, epochs * steps_each))
    terminal = sys.stderr.isatty()

    def report(record: Record) -> None:
        if record.epoch % -(-epochs // 5) == 0 and record.epoch < epochs and not (HAS_BAR and terminal):
            means = record.metrics
            print(f"epoch {record.epoch:<5} accuracy {means['accuracy']:.1%}, loss {means['loss']:.4f}", flush=True)

    started = time.perf_counter()
    try:
        result = fit(objective(model), params, from_arrays({"x": x, "y": y}).shuffle(key).batch(options.batch_size),
                     optimizer=optimizer, epochs=epochs, callbacks=[report])
    except NonFiniteLossError as error:
        raise UserError(f"the loss became {error.value} in epoch {error.epoch}; use a --learning-rate below {rate:g}") from None
    last = result.history[-1]
    print(f"trained     accuracy {last['accuracy']:.1%}, loss {last['loss']:.4f}, {epochs} epochs of "
          f"{options.optimizer} in {time.perf_counter() - started:.1f} s")
    if terminal and not HAS_BAR:
        print(f"            (for a progress bar: {storage.INSTALL})")
    return result.params


def report_gradients(rows: list[GradientRow]) -> bool:
    """Prints the table of gradients; tells whether they are right."""
    width = max(len("parameter"), *(len(row.path) for row in rows))
    print(f"\n{'parameter':<{width}}  {'shape':>10}  {'gradient norm':>13}  {'error against finite differences':>32}")
    for row in rows:
        shape = "x".join(map(str, row.shape))
        print(f"{row.path:<{width}}  {shape:>10}  {row.norm:>13.3e}  {row.error:>32.1e}")
    worst = max(rows, key=lambda row: row.error)
    right = worst.error <= TOLERANCE
    print(f"\ngradients   {'agree with' if right else 'DIFFER from'} finite differences: worst relative error "
          f"{worst.error:.1e}, in {worst.path}")
    return right


if __name__ == "__main__":
    sys.exit(main())
