"""Files of pictures: the ending says the format, and nobody ever reads half a file.

In: a path, and functions that make the text in each format. Out: the file.
"""
from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

from funcgrad.errors import message


def save_picture(path: str | os.PathLike, **formats: Callable[[], str | bytes]) -> None:
    """Writes a picture in the format that the ending says, one of those given."""
    ending = os.path.splitext(os.fspath(path))[1]
    make = formats.get(ending[1:])
    if make is None:
        known = " or ".join(f"'.{name}'" for name in formats)
        raise ValueError(message("save: there is no such format for this", repr(ending), known))
    data = make()
    write_whole(path, data if isinstance(data, bytes) else data.encode())


def png(svg: str) -> bytes:
    """A drawing as PNG. Raises ImportError without the package cairosvg."""
    try:
        import cairosvg
    except ImportError:
        raise ImportError(message("save: .png needs the package cairosvg", None, None,
                                  "pip install 'funcgrad[viz]', or .svg")) from None
    return cairosvg.svg2png(bytestring=svg.encode(), scale=2)


def write_whole(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file under another name first, so that nobody ever reads half of it."""
    folder = os.path.dirname(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=os.path.basename(path))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
