"""The names of ``jax.custom_derivatives``.

With ``symbolic_zeros=True`` a rule gets a ``SymbolicZero`` in the place of a tangent or cotangent that is zero, and a forward
rule of ``custom_vjp`` each leaf as a ``CustomVJPPrimal``.
"""
from __future__ import annotations

from typing import Any

from funcgrad.control.custom import CustomVJPPrimal, custom_jvp, custom_vjp
from funcgrad.control.custom_gradient import custom_gradient
from funcgrad.control.linear_call import linear_call
from funcgrad.core.types import Zero as SymbolicZero
from funcgrad.transforms.staging import closure_convert
from funcgrad.tree import tree_map

__all__ = ["CustomVJPPrimal", "SymbolicZero", "closure_convert", "custom_gradient", "custom_jvp", "custom_vjp",
           "custom_vjp_primal_tree_values", "linear_call"]


def custom_vjp_primal_tree_values(tree: Any) -> Any:
    """The values of a tree of ``CustomVJPPrimal``, as a forward rule with symbolic zeros gets it."""
    return tree_map(lambda primal: primal.value, tree, is_leaf=lambda x: isinstance(x, CustomVJPPrimal))
