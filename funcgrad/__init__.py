"""Functional automatic differentiation of plain Python: grad, jvp, vmap, jit and their kin, composed without limit.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> fg.grad(lambda x: fnp.sum(fnp.sin(x) * x))(fnp.array([0.0, 1.0]))
    Array([0.        , 1.38177329], dtype=float64)

``numpy``, ``lax``, ``random``, ``tree``, ``nn``, ``optim`` and ``training`` are submodules; README.md names what there is.
"""
import importlib as _importlib

from funcgrad import (
    ad_checkpoint,
    custom_derivatives,
    dtypes,
    errors,
    experimental,
    flatten_util,
    lax,
    numpy,
    random,
    test_util,
    tree,
    tree_util,
)
from funcgrad.compiler import cache
from funcgrad.compiler.cpu import num_threads, set_num_threads
from funcgrad.control.checkpoint import checkpoint
from funcgrad.control.checkpoint import checkpoint as remat
from funcgrad.control.custom import custom_jvp, custom_vjp
from funcgrad.control.custom_gradient import custom_gradient
from funcgrad.control.marks import label, named_call, named_scope
from funcgrad.control.piecewise import piecewise
from funcgrad.control.policies import checkpoint_name, checkpoint_policies
from funcgrad.core.array import Array
from funcgrad.core.array import aval_of as typeof
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.cost import cost
from funcgrad.devices import (
    Device,
    block_until_ready,
    default_backend,
    default_device,
    device_count,
    device_get,
    device_put,
    devices,
    effects_barrier,
    local_device_count,
    local_devices,
    process_count,
    process_index,
    process_indices,
    set_default_device,
)
from funcgrad.jit import default_matmul_precision, disable_jit, eager, jit
from funcgrad.ops.callback import pure_callback
from funcgrad.optimize import least_squares, minimize, root
from funcgrad.timing import timeit
from funcgrad.transforms.batching import vmap
from funcgrad.transforms.derivatives import (
    grad,
    hessian,
    hvp,
    jacfwd,
    jacrev,
    jvp,
    linear_transpose,
    linearize,
    value_and_grad,
    vjp,
)
from funcgrad.transforms.residuals import residuals
from funcgrad.transforms.staging import (
    ShapeDtypeStruct,
    closure_convert,
    ensure_compile_time_eval,
    eval_shape,
    make_jaxpr,
)
from funcgrad.transforms.taylor import taylor

_PACKAGES = ("cuda", "debug", "dlpack", "experimental", "nn", "optim", "scipy", "training", "viz")
_TOOLS = {"backward_steps": "viz", "check": "audit", "compare_precision": "arithmetic", "doctor": "installation", "draw": "viz",
          "explain_nan": "debug.nans", "interpret": "arithmetic", "step": "debug.stepping", "to_cfunc": "source",
          "to_source": "source"}


def __getattr__(name: str):
    """Subpackages, and tools that are not needed in every program, are loaded when they are first asked for."""
    if name in _PACKAGES:
        return _importlib.import_module(f"funcgrad.{name}")
    if name in _TOOLS:
        globals()[name] = tool = getattr(_importlib.import_module(f"funcgrad.{_TOOLS[name]}"), name)
        return tool
    raise AttributeError(f"module 'funcgrad' has no attribute {name!r}")


float0 = dtypes.float0
jacobian = jacrev
__version__ = "0.1.0"
__all__ = [
    "Array", "Device", "Jaxpr", "ShapeDtypeStruct", "ad_checkpoint", "backward_steps", "block_until_ready", "cache",
    "check", "checkpoint", "checkpoint_name", "checkpoint_policies", "closure_convert", "compare_precision", "cost",
    "cuda", "custom_derivatives", "custom_gradient", "custom_jvp", "custom_vjp", "debug", "default_backend",
    "default_device", "default_matmul_precision", "device_count", "device_get", "device_put", "devices",
    "disable_jit", "dlpack", "doctor", "draw", "dtypes", "eager", "effects_barrier", "ensure_compile_time_eval",
    "errors", "eval_shape", "experimental", "explain_nan", "flatten_util", "float0", "grad", "hessian", "hvp",
    "interpret", "jacfwd", "jacobian", "jacrev", "jit", "jvp", "label", "lax", "least_squares", "linear_transpose",
    "linearize", "local_device_count", "local_devices", "make_jaxpr", "minimize", "named_call", "named_scope", "nn",
    "num_threads", "numpy", "optim", "piecewise", "process_count", "process_index", "process_indices",
    "pure_callback", "random", "remat", "residuals", "root", "set_default_device", "set_num_threads", "step",
    "taylor", "test_util", "timeit", "to_cfunc", "to_source", "training", "tree", "tree_util", "typeof",
    "value_and_grad", "viz", "vjp", "vmap",
]
