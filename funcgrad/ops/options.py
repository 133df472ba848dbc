"""The options of ``jax.lax`` that say how to compute: precision, rounding, the axes of a product.

In: nothing. Out: enumerations and types for annotations. Products are always computed at the full precision of their dtype,
so that every ``Precision`` is accepted and means the same.
"""
from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Precision(enum.Enum):
    """How exactly a product is computed; here always exactly as its dtype allows."""

    DEFAULT = 0
    HIGH = 1
    HIGHEST = 2

    @classmethod
    def _missing_(cls, value: object) -> Precision | None:
        return _PRECISION_NAMES.get(value)  # type: ignore[call-overload]


_PRECISION_NAMES = {
    None: Precision.DEFAULT, "default": Precision.DEFAULT, "fastest": Precision.DEFAULT, "bfloat16": Precision.DEFAULT,
    "high": Precision.HIGH, "bfloat16_3x": Precision.HIGH, "tensorfloat32": Precision.HIGH, "highest": Precision.HIGHEST,
    "float32": Precision.HIGHEST}
PrecisionLike = str | Precision | tuple[str, str] | tuple[Precision, Precision] | None
DotDimensionNumbers = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]


class RoundingMethod(enum.Enum):
    """Where a number halfway between two integers goes."""

    AWAY_FROM_ZERO = 0
    TO_NEAREST_EVEN = 1


@dataclass(frozen=True)
class RaggedDotDimensionNumbers:
    """The axes of a ragged product.

    ``dot_dimension_numbers`` are those of ``dot_general``; ``lhs_ragged_dimensions`` holds the axis of the left operand that
    is cut into groups, ``rhs_group_dimensions`` the axis of the right one that has an entry a group, if there is one.
    """

    dot_dimension_numbers: DotDimensionNumbers
    lhs_ragged_dimensions: Sequence[int]
    rhs_group_dimensions: Sequence[int]
