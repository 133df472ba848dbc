"""Operations: families of primitives with their user functions and every rule."""
from funcgrad.core.array import Array, install
from funcgrad.ops.operators import operators

install(Array, operators())
