"""The names of ``jax.scipy``: functions of SciPy that differentiate, batch and compile.

Each module is loaded when it is first asked for. The ufuncs of SciPy itself, ``scipy.special.expit(x)``, call its functions for
arrays and traced values.

    >>> import funcgrad.numpy as fnp, funcgrad.scipy
    >>> funcgrad.scipy.signal.convolve(fnp.ones(2), fnp.ones(2))
    Array([1., 2., 1.], dtype=float64)
"""
import importlib as _importlib

from funcgrad.numpy.protocols import register_later as _register_later

_MODULES = {"cluster", "fft", "integrate", "interpolate", "linalg", "ndimage", "optimize", "signal", "sparse", "spatial",
            "special", "stats"}


def __getattr__(name: str):
    if name in _MODULES:
        return _importlib.import_module(f"funcgrad.scipy.{name}")
    raise AttributeError(f"module 'funcgrad.scipy' has no attribute {name!r}")


_register_later("scipy.special", lambda: vars(__getattr__("special")))
