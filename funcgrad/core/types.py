"""Abstract values: what is known of an array before it is computed.

In: shapes and dtypes. Out: interned ``ShapedArray`` records (equal ones are one object, so ``is`` compares them),
and ``Zero``, the one symbolic zero for tangents and cotangents.

    >>> import numpy as np
    >>> shaped_array((3, 4), np.dtype("float32"))
    ShapedArray(float32[3,4])
"""
from __future__ import annotations

import numpy as np

from funcgrad import dtypes

Shape = tuple[int, ...]


class ShapedArray:
    """Shape, dtype and weakness of an array. ``literal`` marks a scalar constant, which may stand beside any shape."""

    __slots__ = ("shape", "dtype", "weak_type", "literal", "_hash")
    shape: Shape
    dtype: np.dtype
    weak_type: bool
    literal: bool
    _hash: int

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        size = 1
        for n in self.shape:
            size *= n
        return size

    def update(self, shape: Shape | None = None, dtype: np.dtype | None = None) -> ShapedArray:
        """The same abstract value with another shape or dtype."""
        return shaped_array(self.shape if shape is None else shape, self.dtype if dtype is None else dtype,
                            self.weak_type)

    def strip_weak_type(self) -> ShapedArray:
        return shaped_array(self.shape, self.dtype)

    def short(self) -> str:
        """As in a jaxpr: ``f32[3,4]``."""
        return f"{dtypes.short_name(self.dtype)}[{','.join(map(str, self.shape))}]"

    def __str__(self) -> str:
        name = "float0" if self.dtype == dtypes.float0 else self.dtype.name
        return f"{name}[{','.join(map(str, self.shape))}]"

    def __repr__(self) -> str:
        return f"ShapedArray({self}{', weak_type=True' if self.weak_type else ''})"

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, ShapedArray) and self.shape == other.shape
                                 and self.dtype == other.dtype and self.weak_type == other.weak_type
                                 and self.literal == other.literal)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self):
        return shaped_array, (self.shape, self.dtype, self.weak_type)


_interned: dict[tuple, ShapedArray] = {}


def shaped_array(shape: Shape, dtype: np.dtype, weak_type: bool = False, literal: bool = False) -> ShapedArray:
    """The interned abstract value of this shape and dtype."""
    key = (shape, dtype, weak_type, literal)
    aval = _interned.get(key)
    if aval is None:
        if dtype.kind == "b" and weak_type:  # bool is the bottom of the lattice: there is nothing to be weak about
            return shaped_array(shape, dtype, False, literal)
        if len(_interned) > 65536:  # programs meet few types; a loop over sizes must not fill the memory
            _interned.clear()
        aval = ShapedArray()
        aval.shape, aval.dtype, aval.weak_type, aval.literal, aval._hash = shape, dtype, weak_type, literal, hash(key)
        aval = _interned.setdefault(key, aval)
    return aval


def tangent_aval(aval: ShapedArray) -> ShapedArray:
    """The type of the tangent: the same for inexact dtypes, float0 for integers and bools."""
    return aval if dtypes.is_inexact(aval.dtype) else shaped_array(aval.shape, dtypes.float0)


class Zero:
    """A tangent or cotangent that is zero, known without computing it."""

    __slots__ = ("aval",)

    def __init__(self, aval: ShapedArray):
        self.aval = aval

    def __repr__(self) -> str:
        return f"Zero({self.aval})"
