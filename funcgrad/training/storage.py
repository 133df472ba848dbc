"""A tree in a file: its arrays in the safetensors format, its structure as JSON in the file's header.

In: a path and a tree of dicts, lists, tuples, named tuples, None, arrays, Python numbers and strings. Out: the tree again, bit
for bit. A file is replaced as a whole or not at all; nothing is ever pickled.

    save("model.safetensors", {"params": params, "state": state}, info={"accuracy": 0.98})
    load("model.safetensors")["params"]                   # dicts, lists and tuples come back by themselves
    load("model.safetensors", like={"params": params, "state": state})
    read_info("model.safetensors")                        # {'accuracy': 0.98}, without reading the arrays
"""
from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

import funcgrad
from funcgrad import dtypes, tree
from funcgrad import numpy as fnp
from funcgrad.core.array import CudaArray
from funcgrad.devices import device_put
from funcgrad.errors import message

try:
    import safetensors
    import safetensors.numpy
except ImportError:
    safetensors = None

INSTALL = 'pip install "funcgrad[train]"'
FORMAT = 1
STORED_AS_THEY_ARE = frozenset(["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
                                "bfloat16", "float32", "float64"])
"""Dtypes of the format; the bytes of others are stored."""
MOST_DIFFERENCES = 8

Encoded = Any
"""A tree as JSON: {"dict": pairs}, {"list": items}, {"tuple": items}, {"node": name, "items": pairs},
{"array": name, "dtype": name, "shape": sizes}; numbers, strings and null stand for themselves."""


class CheckpointError(ValueError):
    """A file is not a whole checkpoint of funcgrad's, or holds another tree than the one expected."""


def can_save() -> bool:
    """Whether the package for these files is installed."""
    return safetensors is not None


def save(path: str | os.PathLike, saved: Any, info: Mapping[str, Any] | None = None) -> None:
    """Writes a tree, with ``info``, a dict of what JSON can hold; a file that was there is replaced when the new one is safe.

    Raises TypeError, by path, for leaves that are neither arrays nor numbers, strings or None, and for other ``info``,
    ImportError without safetensors, and OSError where the place cannot be written.
    """
    _need_safetensors("save")
    arrays: dict[str, np.ndarray] = {}
    header = {"format": FORMAT, "version": funcgrad.__version__, "info": dict(info or {}), "tree": _encode(saved, (), arrays)}
    try:
        text = json.dumps(header)
    except (TypeError, ValueError):
        raise TypeError(message("save: info cannot be stored", repr(info), "what JSON can hold",
                                'float(x) for a number, as in {"accuracy": float(accuracy)}; arrays belong into the tree'
                                )) from None
    # One entry only: their order in the file is random, and equal trees should make equal files.
    replace_file(path, safetensors.numpy.save(arrays, {"funcgrad": text}))


def load(path: str | os.PathLike, like: Any = None) -> Any:
    """The tree in a file that ``save`` wrote; arrays are funcgrad's.

    ``like``: a tree with the structure, shapes and dtypes that are expected; needed for named tuples and other registered
    nodes. What is on a GPU there is put on it. Raises CheckpointError for files that are truncated or foreign, and with
    ``like`` for another tree, listing the differences by path.
    """
    _need_safetensors("load")
    header = _header(path)
    if like is not None:
        _check_same(path, header["tree"], _encode(like, (), None))
    with open(path, "rb") as file:
        stored = {name: spec["data"] for name, spec in safetensors.deserialize(file.read())}
    if like is None:
        return _decode(header["tree"], (), stored)
    leaves = dict(_leaves(header["tree"], ()))
    paths, structure = tree.flatten_with_path(like)
    values = [_value(leaves[_names(path)], stored) for path, _ in paths]
    return tree.unflatten(structure, [device_put(value, x.device) if isinstance(x, CudaArray) else value
                                      for value, (_, x) in zip(values, paths, strict=True)])


def read_info(path: str | os.PathLike) -> dict[str, Any]:
    """What ``save`` got as ``info``. Only the header is read, and the size of the file compared with it."""
    return _header(path)["info"]


# ---------------------------------------------------------------- trees as JSON


def _encode(node: Any, path: tuple[str, ...], arrays: dict[str, np.ndarray] | None) -> Encoded:
    """A tree as JSON; its arrays go into ``arrays``, unless only the structure is wanted."""
    if node is None or type(node) in (bool, int, float, str):
        return node
    if tree.is_tree_node(type(node)):
        entries = tree.flatten_one_level_with_keys(node)[0]
        pairs = [[_name(key), _encode(child, (*path, _name(key)), arrays)] for key, child in entries]
        if type(node) is dict:
            if wrong := [key for key in node if type(key) not in (str, int) or type(key) is int and str(key) in node]:
                raise TypeError(message("save: a key cannot be stored", f"{wrong[0]!r} at {_text(path)}",
                                        "strings and integers, no two of which are written alike"))
            children = dict(pairs)
            return {"dict": [[key, children[str(key)]] for key in node]}
        if type(node) in (list, tuple):
            return {type(node).__name__: [child for _, child in pairs]}
        return {"node": type(node).__name__, "items": pairs}
    if not hasattr(node, "dtype") or not hasattr(node, "shape") or not dtypes.is_supported(np.dtype(node.dtype)):
        raise TypeError(message("save: a leaf cannot be stored", f"{node!r} at {_text(path)}",
                                "arrays, numbers, strings and None"))
    encoded = {"array": ".".join(path), "dtype": np.dtype(node.dtype).name, "shape": list(node.shape)}
    if arrays is not None:
        while encoded["array"] in arrays or encoded["array"] in ("", "__metadata__"):
            encoded["array"] += "_"
        array = np.asarray(node, order="C")
        arrays[encoded["array"]] = array if array.dtype.name in STORED_AS_THEY_ARE else array.reshape(-1).view(np.uint8)
    return encoded


def _children(encoded: Encoded) -> list[tuple[Any, Encoded]] | None:
    """The named children of a node; None for a leaf."""
    if isinstance(encoded, dict):
        for kind in ("dict", "items"):
            if kind in encoded:
                return [(key, child) for key, child in encoded[kind]]
        for kind in ("list", "tuple"):
            if kind in encoded:
                return list(enumerate(encoded[kind]))
    return None


def _leaves(encoded: Encoded, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Encoded]]:
    """The leaves by path; None is not one."""
    children = _children(encoded)
    if children is None:
        return [] if encoded is None else [(path, encoded)]
    return [pair for key, child in children for pair in _leaves(child, (*path, str(key)))]


def _decode(encoded: Encoded, path: tuple[str, ...], stored: dict[str, bytes]) -> Any:
    """The tree, of dicts, lists and tuples."""
    children = _children(encoded)
    if children is None:
        return _value(encoded, stored)
    if "node" in encoded:
        raise CheckpointError(message("load: the type of a node is not known", f"{encoded['node']} at {_text(path)}",
                                      "dicts, lists and tuples", "load(path, like=tree), with a tree of the same structure"))
    values = {key: _decode(child, (*path, str(key)), stored) for key, child in children}
    return values if "dict" in encoded else list(values.values()) if "list" in encoded else tuple(values.values())


def _value(encoded: Encoded, stored: dict[str, bytes]) -> Any:
    if not isinstance(encoded, dict):
        return encoded
    data = np.frombuffer(stored[encoded["array"]], dtypes.as_dtype(encoded["dtype"]))
    return fnp.asarray(data.reshape(encoded["shape"]))


def _name(key: Any) -> str:
    return tree.keystr((key,), simple=True)


def _names(path: tuple) -> tuple[str, ...]:
    return tuple(map(_name, path))


def _text(path: tuple[str, ...]) -> str:
    return repr(".".join(path)) if path else "the top"


# ---------------------------------------------------------------- another tree than expected


def _check_same(path: Any, found: Encoded, expected: Encoded) -> None:
    """Raises CheckpointError with the differences of two trees, by path."""
    there, wanted = _described(found, ()), _described(expected, ())
    different = [place for place in there | wanted if there.get(place) != wanted.get(place)]
    roots = [place for place in different if not any(place[:i] in different for i in range(len(place)))]
    if roots:
        shown = [f"{'.'.join(place) or 'the tree'}: {there.get(place, 'missing')}, expected {wanted.get(place, 'nothing')}"
                 for place in roots[:MOST_DIFFERENCES]]
        more = [f"and {len(roots) - MOST_DIFFERENCES} more"] if len(roots) > MOST_DIFFERENCES else []
        raise CheckpointError(message(f"load: {os.fspath(path)} holds another tree", "; ".join([*shown, *more]), None,
                                      "a checkpoint of this very model and optimiser"))


def _described(encoded: Encoded, path: tuple[str, ...]) -> dict[tuple[str, ...], str]:
    """What is at each path."""
    children = _children(encoded)
    if children is not None:
        out = {path: encoded.get("node") or next(iter(encoded))}
        for key, child in children:
            out |= _described(child, (*path, str(key)))
        return out
    if isinstance(encoded, dict):
        return {path: f"{encoded['dtype']}[{','.join(map(str, encoded['shape']))}]"}
    number = dtypes.PYTHON_SCALARS.get(type(encoded))
    return {path: f"{number.name}[]" if number else "None" if encoded is None else "a string"}


# ---------------------------------------------------------------- files


def _header(path: str | os.PathLike) -> dict[str, Any]:
    """The JSON of a file that ``save`` wrote. Raises CheckpointError if the file is another's, or not whole."""
    name = os.fspath(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= size - 8 else b""
    try:
        entries = json.loads(text)
        header = json.loads(entries.pop("__metadata__")["funcgrad"])
        end = 8 + length + max([entry["data_offsets"][1] for entry in entries.values()], default=0)
        version = header["format"]
    except (ValueError, KeyError, TypeError, AttributeError):
        what = "a file that ends too early, or is of another kind" if not text else "a file that something else wrote"
        raise CheckpointError(message("load: not a checkpoint", f"{name}: {what}", "a file that training.save wrote")) from None
    if version > FORMAT:
        raise CheckpointError(message("load: the checkpoint was written by a later version",
                                      f"{name}: format {version}, funcgrad {header.get('version')}",
                                      f"format {FORMAT} at most", "pip install --upgrade funcgrad"))
    if end != size:
        raise CheckpointError(message("load: the checkpoint is not whole", f"{name} of {size} bytes", f"{end} bytes",
                                      "an earlier one: Checkpoints.latest() passes over those that are not whole"))
    return header


def replace_file(path: str | os.PathLike, data: bytes) -> None:
    """Puts data into a file so that a crash leaves the old file or the new one."""
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=os.path.basename(path) + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # a temporary file is private, the result is an ordinary one
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if os.name == "posix":
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _need_safetensors(what: str) -> None:
    if safetensors is None:
        raise ImportError(message(f"{what}: these files need the package safetensors", "it is not installed", None, INSTALL))
