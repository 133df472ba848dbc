"""From a cluster to the source of a kernel for the threads of a GPU.

In: a cluster of nodes. Out: a ``Kernel`` with its team: how many threads run a chunk of its rows together.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgrad.compiler.codegen import Kernel, Writer
from funcgrad.core.jaxpr import Var


def write_kernel(cluster: Any, scheduler: Any, is_stored: Callable[[Var], bool]) -> Kernel:
    """The kernel of a cluster; what it reads and writes is decided."""
    return Writer(cluster, scheduler, is_stored).kernel()
