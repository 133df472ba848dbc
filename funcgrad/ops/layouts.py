"""Layouts of convolutions: which axis of each array is what, and the shapes that follow.

In: strings of letters, or numbers of axes. Out: permutations, and shapes without arrays.

    ("NHWC", "HWIO", "NHWC")    ->    ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from funcgrad.core.array import describe
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.ops.windows import as_padding, reach, window_counts

# ---------------------------------------------------------------- layouts


class ConvDimensionNumbers(NamedTuple):
    """Where the axes of a convolution are: (batch, feature, *spatial) of lhs and out, (out, in, *spatial) of rhs."""

    lhs_spec: Shape
    rhs_spec: Shape
    out_spec: Shape


ConvGeneralDilatedDimensionNumbers = None | ConvDimensionNumbers | tuple[str, str, str]


def conv_dimension_numbers(lhs_shape: Sequence[int], rhs_shape: Sequence[int], dimension_numbers: Any) -> ConvDimensionNumbers:
    """Strings such as ``("NHWC", "HWIO", "NHWC")`` as numbers of axes; None is ``("NCHW", "OIHW", "NCHW")``.

    Spatial letters are free; strides and padding follow their order in the second string. Raises TypeError for strings that
    do not fit the shapes.

    >>> conv_dimension_numbers((8, 28, 28, 3), (3, 3, 3, 16), ("NHWC", "HWIO", "NHWC")).lhs_spec
    (0, 3, 1, 2)
    """
    if isinstance(dimension_numbers, ConvDimensionNumbers):
        return dimension_numbers
    if len(lhs_shape) != len(rhs_shape):
        raise TypeError(message("convolution: lhs and rhs have different numbers of axes",
                                f"{len(lhs_shape)} and {len(rhs_shape)}", "two each, and one for each spatial dimension"))
    if dimension_numbers is None:
        same = tuple(range(len(lhs_shape)))
        return ConvDimensionNumbers(same, same, same)
    if not isinstance(dimension_numbers, (tuple, list)) or len(dimension_numbers) != 3 \
            or not all(isinstance(s, str) for s in dimension_numbers):
        raise TypeError(message("convolution: the dimension numbers are malformed", describe(dimension_numbers),
                                "None, ConvDimensionNumbers or three strings", '("NHWC", "HWIO", "NHWC")'))
    return ConvDimensionNumbers(*conv_general_permutations(dimension_numbers, len(lhs_shape)))


def conv_general_permutations(dimension_numbers: Sequence[str], ndim: int | None = None) -> tuple[Shape, Shape, Shape]:
    """The three permutations that three strings stand for. Raises TypeError for strings that are no layouts."""
    lhs, rhs, out = dimension_numbers
    for i, (text, pair) in enumerate(zip(dimension_numbers, ("NC", "OI", "NC"), strict=True)):
        good = all(text.count(c) == 1 for c in pair) and len(set(text)) == len(text) and len(text) == (ndim or len(text))
        if not good or {*text} - {*pair} != {*rhs} - {*"OI"}:
            raise TypeError(message(f"convolution: dimension_numbers[{i}] is no layout", repr(text),
                                    f"{pair[0]!r} and {pair[1]!r} once, and the same spatial letters in all three"
                                    + (f", {ndim} letters" if ndim else "")))
    spatial = [c for c in rhs if c not in "OI"]
    return tuple([tuple([text.index(c) for c in (*pair, *spatial)])  # type: ignore[return-value]
                  for text, pair in ((lhs, "NC"), (rhs, "OI"), (out, "NC"))])


def inverse(permutation: Sequence[int]) -> list[int]:
    return sorted(range(len(permutation)), key=permutation.__getitem__)


def features_last(spec: Shape) -> Shape:
    """The permutation that brings the features behind the spatial axes."""
    return spec[0], *spec[2:], spec[1]


def transposed_padding(span: int, stride: int, padding: str) -> tuple[int, int]:
    """The padding of a dilated input that makes a transposed convolution of the size asked for."""
    if padding == "SAME":
        total = span + stride - 2
        low = span - 1 if stride > span - 1 else -(-total // 2)
    elif padding == "VALID":
        total = span + stride - 2 + max(span - stride, 0)
        low = span - 1
    else:
        raise ValueError(message("conv_transpose: unknown padding", repr(padding), "'SAME', 'VALID' or pairs of numbers"))
    return low, total - low


# ---------------------------------------------------------------- shapes without arrays


def conv_shape_tuple(lhs_shape: Sequence[int], rhs_shape: Sequence[int], strides: Sequence[int], pads: Any,
                     batch_group_count: int = 1) -> Shape:
    """The shape of a convolution in the layout ``("NCHW", "OIHW", "NCHW")``."""
    sizes = tuple(lhs_shape[2:])
    padding = as_padding("conv_shape_tuple", pads, sizes, tuple(rhs_shape[2:]), tuple(strides))
    counts = window_counts(sizes, rhs_shape[2:], strides, padding, (1,) * len(sizes))
    return (lhs_shape[0] // batch_group_count, rhs_shape[0], *counts)


def conv_general_shape_tuple(lhs_shape: Sequence[int], rhs_shape: Sequence[int], window_strides: Sequence[int], padding: Any,
                             dimension_numbers: Sequence[str]) -> Shape:
    """The shape of a convolution in any layout.

    >>> conv_general_shape_tuple((2, 5, 5, 3), (3, 3, 3, 4), (2, 2), "SAME", ("NHWC", "HWIO", "NHWC"))
    (2, 3, 3, 4)
    """
    return _shape_in_layout(conv_shape_tuple, lhs_shape, rhs_shape, window_strides, padding, dimension_numbers)


def conv_transpose_shape_tuple(lhs_shape: Sequence[int], rhs_shape: Sequence[int], window_strides: Sequence[int], padding: Any,
                               dimension_numbers: Sequence[str]) -> Shape:
    """The shape of a transposed convolution."""
    def shape(lhs: Shape, rhs: Shape, strides: Sequence[int], padding: Any) -> Shape:
        if isinstance(padding, str):
            padding = [transposed_padding(k, s, padding) for k, s in zip(rhs[2:], strides, strict=True)]
        counts = [reach(n, s) + low + high - k + 1
                  for n, k, s, (low, high) in zip(lhs[2:], rhs[2:], strides, padding, strict=True)]
        return (lhs[0], rhs[0], *counts)

    return _shape_in_layout(shape, lhs_shape, rhs_shape, window_strides, padding, dimension_numbers)


def _shape_in_layout(function: Callable, lhs: Sequence[int], rhs: Sequence[int], strides: Any, padding: Any,
                     dimension_numbers: Any) -> Shape:
    numbers = conv_dimension_numbers(lhs, rhs, dimension_numbers)
    shape = function(tuple([lhs[d] for d in numbers.lhs_spec]), tuple([rhs[d] for d in numbers.rhs_spec]), strides, padding)
    return tuple([shape[d] for d in inverse(numbers.out_spec)])
