"""Writes jax_names.json, the public names of JAX with their parameters, for docs/jax_coverage.py and its test.

Run where JAX is installed: ``python tests/reference/make_jax_coverage.py``. The file holds {"jax": version, "modules":
{module: {name: parameters}}}; the parameters stand as in a definition, such as "a, axis=None, *, keepdims=False", with
"..." for a default that is not a literal. They are null for what has none to compare: constants, modules, enumerations.
"""
import ast
import enum
import importlib
import inspect
import json
import pkgutil
import types
from pathlib import Path

import jax
import jax.scipy
import numpy as np

MODULES = ["jax", "jax.numpy", "jax.numpy.linalg", "jax.numpy.fft", "jax.lax", "jax.lax.linalg", "jax.nn",
           "jax.nn.initializers", "jax.random", "jax.tree", "jax.tree_util", "jax.debug", "jax.flatten_util",
           "jax.test_util", "jax.dtypes", "jax.errors", "jax.custom_derivatives", "jax.ad_checkpoint", "jax.ops",
           "jax.experimental.jet", "jax.experimental.ode"]
DOCUMENTED = {"jax.experimental.jet": ["jet"], "jax.experimental.ode": ["odeint"]}
"""Modules whose other names are there for their own use."""


def scipy_modules():
    found = [m.name for m in pkgutil.walk_packages(jax.scipy.__path__, "jax.scipy.")]
    return ["jax.scipy"] + [m for m in found if not any(part.startswith("_") for part in m.split("."))]


def shown(default):
    """The default as a literal, or "..."."""
    text = repr(default)
    try:
        same = ast.literal_eval(text) == default
    except (ValueError, SyntaxError):
        return "..."
    return text if same else "..."


def parameters(value):
    """The parameters of a function or a class, as they stand in its definition; None for whatever is none."""
    if not callable(value) or isinstance(value, (enum.EnumMeta, types.GenericAlias)) or hasattr(value, "__origin__") \
            or getattr(value, "_is_protocol", False) \
            or inspect.isclass(value) and issubclass(value, (BaseException, np.generic)):
        return None
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return None
    plain = [p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else Shown(shown(p.default)))
             for p in signature.parameters.values()]
    return str(inspect.Signature(plain))[1:-1]


class Shown(str):
    """A text that is its own repr."""

    __repr__ = str.__str__


def names(module):
    space = importlib.import_module(module)
    chosen = DOCUMENTED.get(module) or [n for n in dir(space) if not n.startswith("_")]
    return {name: parameters(getattr(space, name)) for name in sorted(chosen)}


if __name__ == "__main__":
    found = {"jax": jax.__version__, "modules": {module: names(module) for module in [*MODULES, *scipy_modules()]}}
    (Path(__file__).parent / "jax_names.json").write_text(json.dumps(found, indent=0) + "\n")
