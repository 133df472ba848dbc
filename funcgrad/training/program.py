"""The program ``python -m funcgrad train MODEL``.

In: options, see ``python -m funcgrad train --help``. Out: a report on the terminal, and the exit status of the model.
"""
from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence

from funcgrad.training.data import UserError
from funcgrad.training.devices import chosen_device
from funcgrad.training.files import check_place
from funcgrad.training.nonfinite import NonFiniteLossError
from funcgrad.training.storage import CheckpointError

MODELS = {
    "digits": "a convolutional network that tells digits apart",
    "text": "a transformer that writes text, character by character",
    "adding": "an LSTM that remembers two numbers for 200 steps, beside a plain network that cannot",
    "autoencoder": "a variational autoencoder that draws digits",
    "clipping": "a gradient that explodes, and how clipping cures it",
}
WITH_DATA = {"digits": "an .npz file of images and labels, or a folder with a folder of images for each class",
             "text": "a text file in UTF-8", "autoencoder": "as for digits"}


def parser(number: Callable) -> argparse.ArgumentParser:
    """The parser of what follows ``train``; ``number(kind, least)`` converts numbers."""
    main = argparse.ArgumentParser(prog="funcgrad train", description="Train a model, and print how good it is.")
    models = main.add_subparsers(dest="model", required=True, metavar="MODEL")
    for name, about in MODELS.items():
        one = models.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        module = importlib.import_module(f"funcgrad.training.models.{name}")
        if name in WITH_DATA:
            one.add_argument("--data", metavar="PATH", help=WITH_DATA[name])
            one.add_argument("--checkpoints", metavar="FOLDER", help="where to save ten times on the way; a run that was "
                             "interrupted goes on from there")
        one.add_argument("--steps", type=number(int, 1), metavar="N", help=f"steps of training (default: {module.STEPS})")
        one.add_argument("--seed", type=number(int, 0), default=0, metavar="N", help="of all random numbers (default: 0)")
        one.add_argument("--device", default="cpu", metavar="NAME", help="where to compute: cpu (the default), cuda, cuda:1")
        one.add_argument("--log", metavar="FILE", help="a file for what was measured on the way, a JSON object a line")
        one.set_defaults(run=module.run, data=None, checkpoints=None)
    return main


def main(arguments: Sequence[str], number: Callable) -> int:
    """Trains the chosen model and returns the exit status. Raises UserError for what cannot be used."""
    options = parser(number).parse_args(arguments)
    if options.log is not None:
        check_place(options.log, "the log")
    try:
        with chosen_device(options.device):
            return options.run(options)
    except (CheckpointError, NonFiniteLossError) as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    except KeyboardInterrupt:
        saved = f"the last checkpoint is in {options.checkpoints}" if options.checkpoints else "nothing was saved"
        print(f"funcgrad: interrupted, {saved}", file=sys.stderr)
        return 130
