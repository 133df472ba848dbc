"""Operations: families of primitives with their user functions and every rule.

The names here are those of ``jax.ops``; the families are modules.
"""
from funcgrad.core.array import Array, install
from funcgrad.ops.operators import operators
from funcgrad.ops.segments import segment_max, segment_min, segment_prod, segment_sum

__all__ = ["segment_max", "segment_min", "segment_prod", "segment_sum"]

install(Array, operators())
