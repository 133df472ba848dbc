"""Control flow as plain Python: a scan is a for loop over the user's function, a condition an if.

In: what ``scan``, ``while_loop``, ``cond`` and ``switch`` are given, where ``runs_plainly()``: all values are known, though
under a differentiation they are tracers. Out: the results of the staged operation. A debugger stops in the user's functions.

    scan(f, c, xs)    ->    for x in xs: c, y = f(c, x); ys.append(y)
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.control.programs import check_carry, promoted_carry, types
from funcgrad.errors import Turn, user_source, within
from funcgrad.ops.indexing import index_in_dim
from funcgrad.ops.structural import concatenate, expand_dims
from funcgrad.transforms.arguments import flat_results
from funcgrad.tree import tree_structure, tree_unflatten


def plain_scan(body: Callable, carry_tree: Any, carry: Sequence[Any], slices: Sequence[Any], slice_tree: Any, length: int,
               reverse: bool) -> tuple[Any, Any]:
    """The steps of a scan, of which there is at least one. A carry that changes its type in the first one begins anew."""
    source = user_source()
    ys: list[list[Any]] = [[]] * length
    y_tree: Any = None
    while True:
        state = list(carry)
        for step in range(length):
            at = length - 1 - step if reverse else step
            with within(Turn("step", step, length, "scan", source, f", backwards: slice {at}" if reverse else "")):
                after, y = body(tree_unflatten(carry_tree, state),
                                tree_unflatten(slice_tree, [index_in_dim(x, at, 0, False) for x in slices]))
            before, (state, tree) = state, flat_results(body, "return arrays", "scan", after)
            ys[at], y_tree = flat_results(body, "return arrays", "scan", y)
            if tree != carry_tree:
                check_carry("scan body's", carry_tree, tree, (), ())
            promoted = _converted(before, state)
            if promoted is not None:
                carry = promoted
                break
            check_carry("scan body's", carry_tree, tree, types(before), types(state))
        else:
            stacks = [concatenate([expand_dims(y, (0,)) for y in column], 0) for column in zip(*ys, strict=True)]
            return tree_unflatten(carry_tree, state), tree_unflatten(y_tree, stacks)


def plain_while(condition: Callable, body: Callable, state: Any) -> Any:
    """The steps of a ``while_loop``. A state that changes its type in a step begins anew."""
    source, tree = user_source(), tree_structure(state)
    first, _ = flat_results(body, "pass arrays", "while_loop", state)
    while True:
        leaves, step, promoted = list(first), 0, None
        while promoted is None and condition(tree_unflatten(tree, leaves)):
            with within(Turn("step", step, None, "while", source)):
                before, (leaves, after) = leaves, flat_results(body, "return arrays", "while_loop",
                                                               body(tree_unflatten(tree, leaves)))
            if after != tree:
                check_carry("while_loop body's", tree, after, (), ())
            promoted, step = _converted(before, leaves), step + 1
            if promoted is None:
                check_carry("while_loop body's", tree, after, types(before), types(leaves))
        if promoted is None:
            return tree_unflatten(tree, leaves)
        first = promoted


def _converted(before: Sequence[Any], after: Sequence[Any]) -> list[Any] | None:
    """The values before a step that made other dtypes of weakly typed ones, converted; None if it did not."""
    promoted = promoted_carry(before, types(before), types(after))
    same = promoted is None or all(x.dtype == y.dtype for x, y in zip(before, promoted, strict=True))
    return None if same else promoted


def plain_choice(what: str, index: int, branch: Callable, operands: tuple) -> tuple[list[Any], Any]:
    """The flat results of the branch that was chosen, and their tree."""
    with within(Turn("branch", index, None, what, user_source())):
        return flat_results(branch, "return arrays", what, branch(*operands))
