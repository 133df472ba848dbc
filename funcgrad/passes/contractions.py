"""Canonical contractions: a transpose of an operand, or of the result, becomes part of ``dot_general`` or of a reduction.

In: a program. Out: one whose contractions read their operands as they are in memory: BLAS takes a transposed matrix by a
flag, and a stack of matrices by strides. The same products are summed; where several axes are contracted, or the
operands change sides, the order of the sum may be another one.

    c:f64[4,3] = transpose[permutation=(1, 0)] b; d:f64[2,3] = dot_general[dimension_numbers=(((1,), (0,)), ((), ()))] a c
    ->    d:f64[2,3] = dot_general[dimension_numbers=(((1,), (1,)), ((), ()))] a b
"""
from __future__ import annotations

from collections import Counter
from typing import Any

from funcgrad.core.jaxpr import Equation, Jaxpr, Var
from funcgrad.core.types import Shape
from funcgrad.ops.contraction import dot_general_p
from funcgrad.ops.reduction import reduce_max_p, reduce_min_p
from funcgrad.ops.structural import reduce_sum_p, transpose_p
from funcgrad.passes.rewriting import Rules, Walk, instead, of_body


def contractions(jaxpr: Jaxpr) -> Jaxpr:
    """The program with transposes absorbed by the contractions around them."""
    return _Contractions(jaxpr, CONTRACTIONS, lambda body: of_body(body, "contractions", contractions)).run()


class _Contractions(Walk):
    """A walk that can tell how often a value is used."""

    _uses: Counter | None = None

    def uses(self, variable: Var) -> int:
        """How often the program reads a variable, its results included."""
        if self._uses is None:
            self._uses = Counter(self.jaxpr.outs)
            for equation in self.jaxpr.equations:
                self._uses.update(equation.inputs)
        return self._uses[variable]


def transposed_operand(walk: Walk, e: Equation) -> Any:
    """An operand that is a transpose: its axes are named where they come from, if the free ones stay in order."""
    (lc, rc), (lb, rb) = e.params["dimension_numbers"]
    lhs, rhs = e.inputs
    left = _absorbed(walk, lhs, lc, lb)
    right = _absorbed(walk, rhs, rc, rb)
    if left is None and right is None:
        return None
    lhs, lc, lb = left or (lhs, lc, lb)
    rhs, rc, rb = right or (rhs, rc, rb)
    return instead(e, dot_general_p, lhs, rhs, **{**e.params, "dimension_numbers": ((lc, rc), (lb, rb))})


def _absorbed(walk: Walk, operand: Any, contracted: Shape, batch: Shape) -> tuple[Any, Shape, Shape] | None:
    inner = walk.defined(operand, transpose_p)
    if inner is None:
        return None
    permutation = inner.params["permutation"]
    free = [permutation[i] for i in range(len(permutation)) if i not in contracted and i not in batch]
    if free != sorted(free):
        return None
    return inner.inputs[0], tuple([permutation[i] for i in contracted]), tuple([permutation[i] for i in batch])


def transposed_result(walk: _Contractions, e: Equation) -> Any:
    """A result that is read only with the free axes of rhs before those of lhs: the operands change sides."""
    x, = e.inputs
    inner = walk.defined(x, dot_general_p)
    if inner is None or type(x) is not Var or walk.uses(x) != 1:
        return None
    (lc, rc), (lb, rb) = inner.params["dimension_numbers"]
    lhs, rhs = inner.inputs
    batch, middle = len(lb), len(lhs.aval.shape) - len(lc)
    order = (*range(batch), *range(middle, len(x.aval.shape)), *range(batch, middle))
    if e.params["permutation"] != order:
        return None
    return instead(e, dot_general_p, rhs, lhs, **{**inner.params, "dimension_numbers": ((rc, lc), (rb, lb))})


def reduced_transpose(walk: Walk, e: Equation) -> Any:
    """A reduction of a transpose whose axes that are left stay in order: the axes are named where they come from."""
    inner = walk.defined(e.inputs[0], transpose_p)
    if inner is None:
        return None
    permutation, axes = inner.params["permutation"], e.params["axes"]
    kept = [d for i, d in enumerate(permutation) if i not in axes]
    if kept != sorted(kept):
        return None
    return instead(e, e.primitive, inner.inputs[0], **{**e.params, "axes": tuple(sorted([permutation[i] for i in axes]))})


CONTRACTIONS: Rules = {
    dot_general_p: (transposed_operand,),
    transpose_p: (transposed_result,),
    **dict.fromkeys((reduce_sum_p, reduce_max_p, reduce_min_p), (reduced_transpose,)),
}
