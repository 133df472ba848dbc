"""The options of ``jax.lax`` that say how to compute: precision, rounding, the axes of a product.

In: nothing. Out: enumerations and types for annotations. Products are computed at the full precision of their dtype, on all
devices, unless TensorFloat-32 is asked for: then a GPU may round the operands of a float32 product to 10 bits.

    tensorfloat32("high")    ->    True        tensorfloat32(None)    ->    False, but in default_matmul_precision("high")
"""
from __future__ import annotations

import enum
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from funcgrad.errors import message


class Precision(enum.Enum):
    """How exactly a product of float32 is computed: DEFAULT and HIGHEST as float32; HIGH as TensorFloat-32, if on a GPU."""

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
_HIGH = Precision.HIGH  # looking it up in its class takes as long as a small product
default_precision: ContextVar[Precision] = ContextVar("default_precision", default=Precision.DEFAULT)
"""What ``precision=None`` means."""


def as_precision(precision: Any) -> Precision:
    """The user's ``precision`` as one of the enumeration; of a pair, for two operands, the more exact one.

    Raises ValueError for unknown names.
    """
    if isinstance(precision, (tuple, list)) and len(precision) == 2:
        left, right = map(as_precision, precision)
        return left if left is not Precision.HIGH else right
    try:
        return Precision(precision)
    except ValueError:
        raise ValueError(message("precision: the name is unknown", repr(precision), "None, a pair, fg.lax.Precision, or one of "
                                 + ", ".join(name for name in _PRECISION_NAMES if name))) from None


def tensorfloat32(precision: Any) -> bool:
    """Whether a product may be one of TensorFloat-32."""
    return (default_precision.get() if precision is None else as_precision(precision)) is _HIGH


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
