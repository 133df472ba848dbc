"""Machine code on disk: the second process compiles nothing, and no damage to the folder changes a result."""
from __future__ import annotations

import ast
import gc
import json
import os
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.compiler import cache, kernel, objects

CODE = """
import json, sys
import numpy as np
import funcgrad as fg, funcgrad.numpy as fnp
from funcgrad.compiler import cache, kernel
x = np.linspace(0.0, 1.0, 2000).reshape(40, 50)
results = [fg.jit(f)(x) for f in (
    lambda x: fnp.sin(x) * 2 + 1, lambda x: fg.nn.softmax(x, axis=1), lambda x: fnp.sum(x * x, axis=0),
    lambda x: fnp.fmod(x, 0.3) + fnp.concatenate([x[1:], x[:1]]))]
expected = [np.sin(x) * 2 + 1, np.exp(x) / np.exp(x).sum(1, keepdims=True), (x * x).sum(0),
            np.fmod(x, 0.3) + np.concatenate([x[1:], x[:1]])]
right = all(np.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(results, expected, strict=True))
stats = cache.stats()
print(json.dumps({"right": right, "numba": "numba" in sys.modules, "seconds": kernel.compile_seconds, **stats}))
"""


def start(folder: Path, code: str = CODE, **environment: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FUNCGRAD_CACHE_DIR": str(folder), **environment})


def finish(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def run(folder: Path, **environment: str) -> dict:
    return finish(start(folder, **environment))


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A folder that one process has filled, and what the process said."""
    folder = tmp_path_factory.mktemp("machine") / "code"
    return folder, run(folder)


@pytest.fixture
def filled(template, tmp_path):
    folder = tmp_path / "code"
    folder.mkdir(mode=0o700)
    for entry in template[0].iterdir():
        (folder / entry.name).write_bytes(entry.read_bytes())
    return folder


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.object"))


def test_a_second_process_compiles_nothing_and_does_not_import_numba(template):
    folder, first = template
    assert first["right"] and first["numba"] and first["hits"] == 0 and first["misses"] == first["entries"] == len(entries(folder)) > 3
    assert folder.stat().st_mode & 0o777 == 0o700 or os.name != "posix"
    second = run(folder)
    assert second["right"] and not second["numba"] and second["seconds"] == 0
    assert second["misses"] == 0 and second["hits"] == first["misses"] and second["entries"] == first["entries"]
    assert second["bytes"] == sum(e.stat().st_size for e in entries(folder)) and second["folder"] == str(folder)


def foreign(index: int, data: bytes) -> bytes:
    return b"foreign content" * 100


DAMAGES = {
    "deleted": None,
    "empty": lambda i, data: b"",
    "cut off": lambda i, data: data[:len(data) * (i % 7 + 1) // 8],
    "cut off in the head": lambda i, data: data[:len(cache.MAGIC) + i],
    "zeroed": lambda i, data: bytes(len(data)),
    "zeroed after the head": lambda i, data: data[:100] + bytes(len(data) - 100),
    "one bit changed": lambda i, data: changed(data, (i * 997 + 300) % len(data)),
    "longer": lambda i, data: data + b"\0",
    "foreign": foreign,
    "of an older format": lambda i, data: data.replace(b"code 1", b"code 0", 1),
}


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1:]


@pytest.mark.parametrize("first", [0, 1, 2])
def test_damaged_entries_are_misses(filled, first):
    """Every third entry stays as it is; the others are damaged in one way each, and in another way for each ``first``."""
    kinds = list(DAMAGES.values())
    whole = 0
    for i, entry in enumerate(entries(filled)):
        damage = kinds[(i + 4 * first) % len(kinds)]
        if i % 3 == 2:
            whole += 1
        elif damage is None:
            entry.unlink()
        else:
            entry.write_bytes(damage(i, entry.read_bytes()))
    found = run(filled)
    assert found["right"] and found["hits"] == whole and found["misses"] == found["entries"] - whole


def test_exchanged_entries_are_misses(filled):
    data = [e.read_bytes() for e in entries(filled)]
    for entry, other in zip(entries(filled), data[1:] + data[:1], strict=True):
        entry.write_bytes(other)
    found = run(filled)
    assert found["right"] and found["hits"] == 0
    assert run(filled)["misses"] == 0


def test_entries_that_are_folders_are_misses(filled):
    for entry in entries(filled):
        entry.unlink()
        entry.mkdir()
    found = run(filled)
    assert found["right"] and found["hits"] == 0
    assert not list(filled.glob("*.partial"))


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_a_folder_that_others_can_write_is_not_trusted(filled, monkeypatch):
    filled.chmod(0o777)
    found = run(filled)
    assert found["right"] and found["hits"] == 0 and found["numba"]
    monkeypatch.setenv("FUNCGRAD_CACHE_DIR", str(filled))
    for mode, trusted in ((0o700, True), (0o770, False), (0o707, False), (0o500, True)):
        filled.chmod(mode)
        assert all((cache.read(entry.stem) is not None) == trusted for entry in entries(filled))
    filled.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_a_folder_that_cannot_be_written(filled, tmp_path, monkeypatch):
    for entry in entries(filled)[::2]:
        entry.unlink()
    before = len(entries(filled))
    filled.chmod(0o500)
    found = run(filled)
    filled.chmod(0o700)
    assert found["right"] and found["hits"] == before
    assert os.getuid() == 0 or len(entries(filled)) == before
    blocked = tmp_path / "a file"
    blocked.write_bytes(b"")
    assert run(blocked)["right"]
    for folder in (blocked, blocked / "below"):
        monkeypatch.setenv("FUNCGRAD_CACHE_DIR", str(folder))
        cache.write(cache.key("text"), b"code", "symbol")
        assert cache.read(cache.key("text")) is None and cache.stats()["entries"] == 0


def test_processes_fill_one_folder_at_the_same_time(tmp_path):
    folder = tmp_path / "code"
    found = [finish(p) for p in [start(folder) for _ in range(2)]]
    assert all(f["right"] for f in found)
    assert not list(folder.glob("*.partial"))
    last = run(folder)
    assert last["right"] and last["misses"] == 0


def test_a_user_without_a_home_gets_a_folder(monkeypatch):
    def fail():
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("FUNCGRAD_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.folder() == Path.home() / ".cache" / "funcgrad"
    monkeypatch.setattr(Path, "home", fail)
    assert "funcgrad" in cache.folder().name
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    assert cache.folder() == Path("/there/funcgrad")
    monkeypatch.setenv("FUNCGRAD_CACHE_DIR", "/elsewhere")
    assert cache.folder() == Path("/elsewhere")


def test_statistics_and_clearing(filled, monkeypatch):
    monkeypatch.setenv("FUNCGRAD_CACHE_DIR", str(filled))
    (filled / "left.partial").write_bytes(b"by a process that was killed")
    (filled / "other").write_bytes(b"of somebody else")
    stats = cache.stats()
    assert sorted(stats) == ["bytes", "entries", "folder", "hits", "misses"] and stats["entries"] == len(entries(filled)) > 0
    cache.clear()
    assert [p.name for p in filled.iterdir()] == ["other"]
    assert cache.stats()["entries"] == cache.stats()["bytes"] == 0
    monkeypatch.setenv("FUNCGRAD_CACHE_DIR", str(filled / "nowhere"))
    cache.clear()
    assert cache.stats()["entries"] == 0


def test_what_is_written_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNCGRAD_CACHE_DIR", str(tmp_path / "code"))
    name = cache.key("source")
    assert name != cache.key("another source") and cache.read(name) is None
    cache.write(name, b"code\0with\0zeros", "symbol")
    assert cache.read(name) == (b"code\0with\0zeros", "symbol") and cache.read(cache.key("another source")) is None
    assert cache.counts()[0] == cache.stats()["hits"]


def test_the_older_half_goes_when_there_are_too_many(tmp_path, monkeypatch):
    folder = tmp_path / "code"
    monkeypatch.setenv("FUNCGRAD_CACHE_DIR", str(folder))
    monkeypatch.setattr(cache, "MOST_ENTRIES", 6)
    names = [cache.key(str(i)) for i in range(8)]
    for i, name in enumerate(names[:7]):
        monkeypatch.setattr(cache, "_written", 1)  # not the first one of this process: nothing is looked at
        cache.write(name, b"code", "symbol")
        os.utime(folder / f"{name}.object", (1000 + i, 1000 + i))
    assert len(entries(folder)) == 7
    monkeypatch.setattr(cache, "_written", 0)
    cache.write(names[7], b"code", "symbol")
    assert {e.stem for e in entries(folder)} == set(names[4:])


def test_the_key_depends_on_versions_and_processor():
    machine = cache._machine("").decode()
    assert "\n" in machine and sys.version.split()[0] in machine


SOURCE = "def kernel(pointers, sizes, start, stop):\n    set_word(pointers, 0, start + {})\n"


def test_kernels_have_symbols_of_their_own():
    """Object files of several processes are linked into one: equal symbols would be confused."""
    symbols = {kernel.build(SOURCE.format(i))[1] for i in range(3)}
    assert len(symbols) == 3 and kernel.build(SOURCE.format(1))[1].split("B")[0] in {s.split("B")[0] for s in symbols}


def test_an_object_file_that_cannot_be_linked_is_refused(tmp_path, monkeypatch):
    code, symbol = kernel.build("def kernel(pointers, sizes, start, stop):\n    set_word(pointers, 0, word(sizes, 0))\n")
    assert kernel.linkable(code) and list(objects.undefined(code)) == objects.unresolved(code) == []
    moved, _ = kernel.build("def kernel(pointers, sizes, start, stop):\n    p0 = pointer_f64(pointers, 0)\n    p0[0] = fmod_f64(p0[0], p0[1])\n")
    assert list(objects.undefined(moved)) == ["fmod"] and kernel.linkable(moved)
    broken = moved.replace(b"\0fmod\0", b"\0fmox\0")
    assert objects.unresolved(broken) == ["fmox"] and not kernel.linkable(broken)
    assert list(objects.undefined(b"MZ")) == []
    monkeypatch.setenv("FUNCGRAD_CACHE_DIR", str(tmp_path / "code"))
    cache.write(cache.key("text"), broken, symbol)
    calls = []
    assert kernel._address("text", lambda: (calls.append(1), (code, symbol))[1], "text") and calls
    with pytest.raises(RuntimeError, match="compiled code refers to fmox, which this process does not have"):
        kernel._address("other text", lambda: (broken, symbol), "other text")


def test_kernels_in_memory_are_bounded_and_stay_while_a_program_needs_them(monkeypatch):
    monkeypatch.setattr(kernel, "_shelves", [])
    monkeypatch.setattr(kernel, "ON_A_SHELF", 2)
    monkeypatch.setattr(kernel, "SHELVES", 2)
    x = fnp.arange(3.0)
    kept = fg.jit(lambda x: x * 0.25 + 1)
    assert kept(x).tolist() == [1.0, 1.25, 1.5]
    first = weakref.ref(kernel._shelves[0])
    functions = [fg.jit(lambda x, k=k: fnp.sin(x * k) + k) for k in range(8)]
    for k, f in enumerate(functions):
        np.testing.assert_allclose(f(x), np.sin(np.arange(3) * k) + k, rtol=1e-15)
    assert len(kernel._shelves) == 2 and first() not in kernel._shelves
    assert first() is not None and kept(x).tolist() == [1.0, 1.25, 1.5]
    again = fg.jit(lambda x: x * 0.25 + 1)  # is loaded a second time
    assert again(x).tolist() == [1.0, 1.25, 1.5]
    del kept, functions
    gc.collect()
    assert first() is None and again(x).tolist() == [1.0, 1.25, 1.5]


def test_nothing_is_pickled():
    for path in Path(cache.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(
                node, ast.ImportFrom) else []
            assert not {"pickle", "marshal", "shelve", "dill", "cloudpickle"} & {n.split(".")[0] for n in names}, path


def test_importing_the_package_loads_neither_numba_nor_llvmlite():
    code = textwrap.dedent("""
        import json, sys, funcgrad as fg, funcgrad.numpy, funcgrad.nn
        fg.grad(lambda x: x * x)(2.0)
        print(json.dumps({"loaded": [m for m in ("numba", "llvmlite", "scipy.special") if m in sys.modules]}))
    """)
    assert finish(start(Path("/nowhere"), code))["loaded"] == []
