"""Writes docs/numpy-coverage.md, the list of NumPy's public names and what becomes of them on arrays of funcgrad.

    python docs/make_numpy_coverage.py            writes the list
    python docs/make_numpy_coverage.py --check    fails where the list is not what would be written

A name that is neither supported nor has a reason is an error.
"""
from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import funcgrad as fg
from funcgrad.numpy import absent, protocols
from funcgrad.numpy.ufunc_methods import METHODS

FILE = Path(__file__).with_name("numpy-coverage.md")
DISPATCHER = type(np.concatenate)
YES, AS_IS = "yes", "as it is: it takes no arrays, and its result is a constant"
ON_VALUES = "on values; traced values raise"

OTHER_NAMESPACES = {
    "char": "text", "core": "NumPy's own", "ctypeslib": "memory for C",
    "dtypes": "classes of dtypes, taken wherever a dtype is",
    "exceptions": "classes of errors", "f2py": "a compiler", "lib": "NumPy's own, but for stride_tricks above",
    "ma": "masked arrays are a subclass of NumPy's; use where=, fnp.where and the nan functions",
    "polynomial": "written in Python on the functions above: polynomials with given coefficients work at traced points; "
                  "coefficients are converted to NumPy's arrays, so traced ones raise: use np.polyval or fnp.polyval",
    "random": "its results are constants; fg.random has keys and derivatives", "rec": "records", "strings": "text",
    "testing": "it compares values", "typing": "types for checkers",
}
CLASSES = {"poly1d": "yes, with coefficients that are not traced", "ufunc": "as it is: see the ufuncs above",
           "ndindex": AS_IS, "finfo": "as it is", "iinfo": "as it is", "dtype": "as it is", "errstate": "as it is",
           "ndarray": "yes: the methods are above", "busdaycalendar": f"no: {absent.REASONS['busday_count']}",
           "datetime64": f"no: {absent.REASONS['busday_count']}", "timedelta64": f"no: {absent.REASONS['busday_count']}",
           "matrix": f"no: {absent.REASONS['asmatrix']}", "memmap": "on values: it is a NumPy array",
           "recarray": "no: there are no arrays of records", "record": "no: there are no arrays of records",
           "void": "no: there are no arrays of records", "object_": "no: there are no arrays of objects",
           "bytes_": "no: there are no arrays of text", "str_": "no: there are no arrays of text",
           **dict.fromkeys(("longdouble", "clongdouble", "float128", "float96", "complex256", "complex192"),
                           "no: arithmetic is in at most 64 bits a part")}


def of_function(path: str, name: str, original: object) -> str:
    """What becomes of a function."""
    reason = absent.EMATH if path == "np.emath" else absent.REASONS.get(name)
    if not isinstance(original, DISPATCHER):
        if name == "row_stack":
            return f"{YES}: it calls np.vstack"
        if reason:
            return f"as it is: {reason}" if reason.startswith("it takes") else f"no: {reason}"
        return AS_IS
    if original in absent.IN_PLACE:
        return f"no: arrays are immutable; write `{absent.IN_PLACE[original]}`"
    if original in protocols.ON_VALUES:
        return ON_VALUES
    if protocols.counterpart(original) is not None:
        refused = [k for k in protocols.not_taken(original) if k not in ("out", "kwargs", "order")]
        return YES + (f", without {', '.join(f'`{k}`' for k in refused)}" if refused else "")
    if reason:
        return f"no: {reason}"
    raise SystemExit(f"{path}.{name} has neither a counterpart nor a reason")


def functions() -> Iterator[tuple[str, str]]:
    """Every public function."""
    for path, module in (("np", np), ("np.linalg", np.linalg), ("np.fft", np.fft), ("np.emath", np.emath),
                         ("np.lib.stride_tricks", np.lib.stride_tricks)):
        for name in sorted(dir(module) if path == "np" else getattr(module, "__all__", ["as_strided", "sliding_window_view"])):
            original = getattr(module, name)
            if callable(original) and not name.startswith("_") and not isinstance(original, (type, np.ufunc)):
                if not inspect.ismodule(original):
                    yield f"{path}.{name}", of_function(path, name, original)


def ufuncs() -> Iterator[tuple[str, str]]:
    """Every ufunc, with its methods."""
    for name in sorted(n for n in dir(np) if isinstance(getattr(np, n), np.ufunc)):
        ufunc = getattr(np, name)
        if protocols.counterpart(ufunc) is None:
            if name not in absent.REASONS:
                raise SystemExit(f"np.{name} has neither a counterpart nor a reason")
            yield f"np.{name}", f"no: {absent.REASONS[name]}"
            continue
        methods = [m for m in METHODS if ufunc.nin == 2 and ufunc.signature is None and (ufunc.nout == 1 or m == "outer")]
        yield f"np.{name}", YES + (f"; {', '.join(methods)}" if methods else "")


def attributes() -> Iterator[tuple[str, str]]:
    """Every method and attribute of ndarray."""
    for name in sorted(dir(np.ndarray)):
        if name in absent.REFUSED_METHODS:
            reason, instead = absent.REFUSED_METHODS[name]
            yield f"x.{name}", f"no: {reason}; write `{instead}`"
        elif name in absent.ABSENT_ATTRIBUTES:
            yield f"x.{name}", f"no: {absent.ABSENT_ATTRIBUTES[name]}"
        elif name.startswith("__i") and name[3:-2] in _OPERATORS:
            yield f"x.{name}", "yes: `x += y` is `x = x + y`"
        elif name in ("sort", "partition"):
            yield f"x.{name}", f"yes, but x does not change: write `x = x.{name}()`; without using the result it raises"
        elif name in ("__bool__", "__int__", "__index__"):
            yield f"x.{name}", "on values, also under grad; under jit and vmap they raise"
        elif name in _NEED_VALUES:
            yield f"x.{name}", ON_VALUES
        elif hasattr(fg.Array, name):
            yield f"x.{name}", YES
        else:
            raise SystemExit(f"x.{name} is neither there nor has a reason")


_OPERATORS = {"add", "and", "floordiv", "lshift", "matmul", "mod", "mul", "or", "pow", "rshift", "sub", "truediv", "xor"}
_NEED_VALUES = {"__array__", "__array_interface__", "__dlpack__", "__dlpack_device__",
                "__float__", "__complex__", "item", "tolist", "tobytes", "tofile", "dump", "dumps", "ctypes", "data", "flags",
                "strides"}


def others() -> Iterator[tuple[str, str]]:
    """Classes, constants and namespaces."""
    for name in sorted(n for n in dir(np) if not n.startswith("_")):
        value = getattr(np, name)
        if inspect.ismodule(value) and name not in ("linalg", "fft", "emath"):
            yield f"np.{name}", OTHER_NAMESPACES[name]
        elif isinstance(value, type):
            reason = absent.REASONS.get(name)
            yield f"np.{name}", f"no: {reason}" if reason else CLASSES.get(name) or "as it is: a dtype, or a kind of dtypes"
        elif not callable(value) and not inspect.ismodule(value):
            yield f"np.{name}", f"no: {absent.REASONS[name]}" if name in absent.REASONS else "as it is"


SECTIONS = {"Functions": functions, "Ufuncs and their methods": ufuncs, "Methods and attributes of arrays": attributes,
            "Classes, constants, other namespaces": others}
INTRODUCTION = f"""# NumPy's names on arrays of funcgrad

What becomes of code that only says `import numpy as np` when its arrays are arrays of funcgrad, or traced by `grad`, `vmap` or
`jit`. Written by `python docs/make_numpy_coverage.py` from NumPy {'.'.join(np.__version__.split('.')[:2])}; the tests compare.

- **yes**: it calls the function of `funcgrad.numpy`, so it differentiates, batches and compiles.
- **on values**: it works on arrays that have values; a traced value raises and says why.
- **as it is**: it meets no arrays; NumPy's own result is a constant.
- **no**: it raises a `TypeError` that gives the reason and what to write.

Everywhere: `out=` raises, since arrays are immutable (`x += y` is `x = x + y`); `where=` of a ufunc call raises, since it
leaves elements undefined (of a reduction it works); `order=` of memory, `subok=`, `casting=`, and `kind=` of a sort say nothing
about the values and are left out; `ufunc.at` raises and shows the form with `x.at[index]`. Writing into a NumPy array,
`a[i] = x` for a traced x, raises. Results whose size depends on values (`np.nonzero`, `x[x > 0]`, `np.unique`) need values:
they work under `grad` and raise under `jit`. Where NumPy chooses between real and complex results by the values, results are
complex (`np.roots`, `np.linalg.eigvals`). Lists of numbers count as arrays in the arguments of NumPy's functions, of
methods and operators, and in an index. NumPy looks only at the arguments themselves for traced values: `np.array([a, b])` and
`np.sum([a, b])` of traced a and b raise; write `np.stack([a, b])`.
"""


def text() -> str:
    """The whole list."""
    parts = [INTRODUCTION]
    for title, rows in SECTIONS.items():
        rows = list(rows())
        supported = sum(status.startswith(("yes", "on values", "as it is")) for _, status in rows)
        parts.append(f"\n## {title}\n\n{supported} of {len(rows)}.\n\n| name | |\n|---|---|\n"
                     + "".join(f"| `{name}` | {status} |\n" for name, status in rows))
    return "".join(parts)


def rows_of(page: str) -> dict[str, str]:
    """The rows of the list, by name."""
    rows = [line.strip("|").split(" | ", 1) for line in page.splitlines() if line.startswith("| `")]
    return {name.strip(" `"): status.strip() for name, status in rows}


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(None if FILE.read_text() == text() else f"{FILE.name} is not up to date: run {Path(__file__).name}")
    FILE.write_text(text())
