"""Machine code on disk: what one process compiled, the next one loads.

In: the source of a kernel. Out: its object file. An entry is one file, written to a temporary name, synchronised and
renamed; it starts with a digest of all that follows, so that an entry which is cut off, changed or foreign is a miss.
The folder belongs to the user alone; it is found by FUNCGRAD_CACHE_DIR, else under XDG_CACHE_HOME or ~/.cache.

    >>> import funcgrad as fg
    >>> sorted(fg.cache.stats())
    ['bytes', 'entries', 'folder', 'hits', 'misses']
"""
from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import stat
from pathlib import Path
from typing import Any

MAGIC = b"funcgrad object code 1\n"
DIGEST = 32

MOST_ENTRIES = 20_000
"""Entries from which the older half is deleted; an entry has a few kilobytes."""

_counts = {"hits": 0, "misses": 0}
_written = 0


def folder() -> Path:
    """Where the entries are; it need not exist."""
    chosen = os.environ.get("FUNCGRAD_CACHE_DIR")
    if chosen:
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "funcgrad"
    except RuntimeError:  # a user without a home
        import tempfile  # slow to load, and seldom needed
        return Path(tempfile.gettempdir()) / f"funcgrad-{os.getuid() if os.name == 'posix' else 'cache'}"


def stats() -> dict[str, Any]:
    """The folder, how many entries and bytes it holds, and how many look-ups of this process hit or missed."""
    entries = _entries()
    return {"folder": str(folder()), "entries": len(entries), "bytes": sum(_size(e) for e in entries), **_counts}


def counts() -> tuple[int, int]:
    """Hits and misses of this process."""
    return _counts["hits"], _counts["misses"]


def clear() -> None:
    """Deletes all entries, and what interrupted processes left. What the process has loaded goes on running."""
    for entry in (*_entries(), *folder().glob("*.partial")):
        with contextlib.suppress(OSError):
            entry.unlink()


def _entries() -> list[Path]:
    return sorted(folder().glob("*.object"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # another process has just deleted it
        return 0


@functools.cache
def _machine(target: str) -> bytes:
    """What machine code depends on besides its source: versions, and the target or this processor and its features."""
    from importlib.metadata import version  # slow to import

    import llvmlite.binding as llvm
    where = [target] if target else [platform.machine(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
    return "\n".join([version("numba"), version("llvmlite"), platform.python_version(), *where]).encode()


def key(source: str, target: str = "") -> str:
    """The name of the entry for a source, compiled for this processor or for another target."""
    return hashlib.blake2b(_machine(target) + b"\0" + source.encode(), digest_size=DIGEST).hexdigest()


def read(name: str) -> tuple[bytes, str] | None:
    """Object file and symbol of an entry, or None: not there, damaged, or in a folder that others can write."""
    try:
        path = _trusted(folder()) / f"{name}.object"
        data = path.read_bytes()
    except OSError:
        data = b""
    head = len(MAGIC) + DIGEST
    body = data[head:]
    digest = hashlib.blake2b(name.encode() + body, digest_size=DIGEST).digest()
    if data[:len(MAGIC)] != MAGIC or data[len(MAGIC):head] != digest:
        _counts["misses"] += 1
        return None
    symbol, _, code = body.partition(b"\0")
    _counts["hits"] += 1
    return code, symbol.decode()


def write(name: str, code: bytes, symbol: str) -> None:
    """Stores an entry; a folder that cannot be written is no error: the next process compiles again."""
    body = symbol.encode() + b"\0" + code
    data = MAGIC + hashlib.blake2b(name.encode() + body, digest_size=DIGEST).digest() + body
    partial = None
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        place = _trusted(folder())
        import tempfile
        with tempfile.NamedTemporaryFile(dir=place, suffix=".partial", delete=False) as file:
            partial = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, place / f"{name}.object")
    except OSError:
        if partial is not None:
            with contextlib.suppress(OSError):
                os.unlink(partial)
        return
    global _written
    _written += 1
    if _written % 256 == 1:
        _evict()


def _evict() -> None:
    """Deletes the older half once there are too many entries: other versions of the library leave theirs behind."""
    entries = _entries()
    if len(entries) > MOST_ENTRIES:
        for entry in sorted(entries, key=_written_at)[:len(entries) // 2]:
            with contextlib.suppress(OSError):
                entry.unlink()


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has just deleted it
        return 0.0


def _trusted(place: Path) -> Path:
    """The folder, if it is the user's own and nobody else can write to it. Raises PermissionError otherwise."""
    if os.name == "posix":
        facts = place.stat()
        if facts.st_uid != os.getuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{place} can be written by others")
    return place
