"""Tests that run with the stand-in for CuPy everywhere, and again on a GPU where there is one.

``@on_gpus`` gives a test the argument ``cupy``: the stand-in, or CuPy itself under the marker ``gpu`` (``pytest -m gpu``).
"""
from __future__ import annotations

import contextlib
import warnings

import fake_cupy
import pytest

on_gpus = pytest.mark.parametrize("cupy", ["stand-in", pytest.param("gpu", marks=pytest.mark.gpu)], indirect=True)


def missing() -> str | None:
    """Why there is no GPU to run tests on, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a toolkit that is not where CuPy looks first
            import cupy
    except ImportError:
        return "CuPy is not installed"
    with contextlib.suppress(Exception):
        if cupy.cuda.runtime.getDeviceCount():
            return None
    return "CuPy finds no GPU"


@pytest.fixture(name="cupy")
def library(request, monkeypatch):
    if request.param == "stand-in":
        return fake_cupy.install(monkeypatch)
    reason = missing()
    if reason is not None:
        pytest.skip(f"needs a GPU: {reason}")
    import cupy
    return cupy
