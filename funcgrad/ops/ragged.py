"""Products of matrices in groups of rows: each group meets a matrix of its own, as in a mixture of experts.

In: two arrays and the sizes of the groups, which may be traced. Out: an array. Composed of ``dot_general`` over operands from
which each group takes its part, so derivatives and batching follow; rows beyond the last group give zeros.

    >>> import numpy as np
    >>> ragged_dot(np.ones((3, 2)), np.array([[[1.], [1.]], [[5.], [5.]]]), np.array([1, 2]))
    Array([[ 2.],
           [10.],
           [10.]], dtype=float64)
"""
from __future__ import annotations

from typing import Any

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.ops.contraction import dot_general
from funcgrad.ops.elementwise import bitwise_and, ge, lt, sub
from funcgrad.ops.options import RaggedDotDimensionNumbers
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.reduction import cumsum
from funcgrad.ops.structural import broadcast_in_dim, iota, moveaxis, select_n, zeros


def ragged_dot(lhs: Any, rhs: Any, group_sizes: Any, precision: Any = None, preferred_element_type: Any = None,
               group_offset: Any = None) -> Any:
    """The product of the rows of ``lhs[m, k]``, in consecutive groups, with the group's matrix of ``rhs[g, k, n]``.

    ``group_sizes`` is an integer array [g]; the rows beyond its sum give zeros. Raises ValueError for other shapes.
    """
    numbers = RaggedDotDimensionNumbers((((1,), (1,)), ((), ())), (0,), (0,))
    return ragged_dot_general(lhs, rhs, group_sizes, numbers, precision, preferred_element_type, group_offset)


def ragged_dot_general(lhs: Any, rhs: Any, group_sizes: Any, ragged_dot_dimension_numbers: Any, precision: Any = None,
                       preferred_element_type: Any = None, group_offset: Any = None) -> Any:
    """``dot_general`` with one axis of lhs, the ragged one, cut into consecutive groups of ``group_sizes`` [g].

    An axis of lhs that is kept: each group meets its entry along the group axis of rhs, and the result has the axes of
    ``dot_general`` without it. An axis that is summed: each group is a sum of its own, along a new first axis. A batch axis:
    ``dot_general`` itself. Raises NotImplementedError for an offset, and for group sizes that differ in a batch.
    """
    lhs, rhs, sizes = (unary_arg("ragged_dot_general", x) for x in (lhs, rhs, group_sizes))
    if group_offset is not None:
        raise NotImplementedError(message("ragged_dot: group_offset is not supported", describe(group_offset), "None"))
    if len(sizes.shape) != 1 or dtypes.kind(sizes.dtype) not in "iu":
        raise NotImplementedError(message("ragged_dot: group_sizes must be a vector of integers", describe(sizes), "int64[g]"))
    numbers = ragged_dot_dimension_numbers
    ((lhs_sum, rhs_sum), (lhs_batch, rhs_batch)) = [[tuple(d) for d in pair] for pair in numbers.dot_dimension_numbers]
    (ragged,), groups = numbers.lhs_ragged_dimensions, tuple(numbers.rhs_group_dimensions)
    options = dict(precision=precision, preferred_element_type=preferred_element_type)
    if ragged in lhs_batch:
        return dot_general(lhs, rhs, ((lhs_sum, rhs_sum), (lhs_batch, rhs_batch)), **options)
    if ragged in lhs_sum:
        parts = _groups(lhs, sizes, ragged)
        out = dot_general(parts, rhs, ((_behind(lhs_sum), rhs_sum), (_behind(lhs_batch), rhs_batch)), **options)
        return moveaxis(out, len(lhs_batch), 0)
    if len(groups) != 1 or rhs.shape[groups[0]] != sizes.shape[0]:
        raise ValueError(message("ragged_dot: the right operand has no matrix for each group",
                                 f"{describe(rhs)} with group axes {groups}, and {sizes.shape[0]} groups"))
    parts = _groups(lhs, sizes, ragged)
    return dot_general(parts, rhs, (((0, *_behind(lhs_sum)), (*groups, *rhs_sum)), (_behind(lhs_batch), rhs_batch)), **options)


def _behind(dimensions: tuple[int, ...]) -> tuple[int, ...]:
    """The axes after a new first one."""
    return tuple([i + 1 for i in dimensions])


def _groups(x: Any, sizes: Any, axis: int) -> Any:
    """An array [g, *x.shape]: x with zeros outside of group i along an axis."""
    shape = (sizes.shape[0], *x.shape)
    ends = cumsum(sizes, 0)
    position = iota(sizes.dtype, shape, axis + 1)
    start, end = (broadcast_in_dim(v, shape, (0,)) for v in (sub(ends, sizes), ends))
    inside = bitwise_and(ge(position, start), lt(position, end))
    copies = broadcast_in_dim(x, shape, range(1, len(shape)))
    return select_n(inside, zeros(copies.aval), copies)
