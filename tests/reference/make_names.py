"""Writes the public names of jax.numpy to names.json: ``python tests/reference/make_names.py`` where jax is installed."""
import json
from pathlib import Path

import jax
import jax.numpy as jnp

names = {"jax": jax.__version__, "numpy": sorted(n for n in dir(jnp) if not n.startswith("_"))}
(Path(__file__).parent / "names.json").write_text(json.dumps(names, indent=0) + "\n")
