"""Writes ``cupy_names.json``: what CuPy offers, for ``fake_cupy.py``, which offers nothing else. Needs CuPy, but no GPU.

For each module and for ``ndarray`` the names in it: of a function the names of its parameters, of a ufunc its loops, of
anything else null. Libraries of CUDA that are not installed are replaced by empty modules, which is enough to import what uses them.
"""
import importlib
import inspect
import json
import pathlib
import sys
import types

import cupy
from cupy._sorting import search

MODULES = ("cupy", "cupy.linalg", "cupy.fft", "cupy.cuda", "cupyx", "cupyx.scipy.special", "cupyx.scipy.linalg", "cupyx.scipy.fft")


class Absent(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return 0


for library in ("cublas", "cusolver", "cusparse", "curand"):
    try:
        importlib.import_module(f"cupy_backends.cuda.libs.{library}")
    except ImportError:
        sys.modules[f"cupy_backends.cuda.libs.{library}"] = module = Absent(library)
        setattr(sys.modules["cupy_backends.cuda.libs"], library, module)


def entry(value):
    if isinstance(value, cupy.ufunc):
        return {"loops": value.types}
    if not callable(value) or isinstance(value, type):
        return None
    try:
        return [str(p).split("=")[0].split(":")[0] for p in inspect.signature(value).parameters.values()]
    except (ValueError, TypeError):
        first = (value.__doc__ or "").strip().split("\n")[0]  # Cython writes the signature into the docstring
        inside = first.partition("(")[2].rpartition(")")[0]
        names = [p.split("=")[0].split(":")[0].split(" ")[-1] for p in inside.split(", ")]
        return names if "self" in names else None


names = {}
for module in MODULES:
    loaded = importlib.import_module(module)
    names[module] = {name: entry(getattr(loaded, name)) for name in sorted(dir(loaded)) if not name.startswith("_")}
names["cupy"]["where"] = {"loops": search._where_ufunc.types}
names["ndarray"] = {name: entry(getattr(cupy.ndarray, name)) for name in sorted(dir(cupy.ndarray)) if not name.startswith("_")}
path = pathlib.Path(__file__).with_name("cupy_names.json")
lines = [f"{json.dumps(module)}: {json.dumps(table, separators=(',', ':'))}" for module, table in names.items()]
path.write_text(f'{{"version": "{cupy.__version__}",\n' + ",\n".join(lines) + "}\n")
