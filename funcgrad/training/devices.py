"""The device that a program was told to compute on.

In: the name that follows ``--device``. Out: a block in which parameters, keys and what is computed from them are there;
batches, which are NumPy's, follow them.
"""
from __future__ import annotations

from typing import Any

from funcgrad.core.device import as_device
from funcgrad.devices import default_device
from funcgrad.errors import DeviceError
from funcgrad.training.data import UserError


def chosen_device(name: str) -> Any:
    """A context manager. Raises UserError for a device that is not there."""
    try:
        return default_device(as_device("--device", name))
    except (ValueError, DeviceError) as error:
        first, *rest = str(error).splitlines()
        raise UserError("; ".join([first.split(", called at")[0], *[" ".join(line.split()) for line in rest]])) from None
