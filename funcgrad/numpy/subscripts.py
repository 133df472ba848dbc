"""``einsum``: sums of products of arrays, written with one letter for each axis.

In: subscripts such as ``"bij,bjk->bik"`` and arrays. Out: an array. The subscripts and the shapes alone decide a list
of steps (diagonals, sums, products of two operands, a permutation), which is kept for the next call.

    >>> import funcgrad.numpy as fnp
    >>> fnp.einsum("ij,j->i", fnp.ones((2, 3)), fnp.arange(3.))
    Array([3., 3.], dtype=float64)
"""
from __future__ import annotations

import functools
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.core.stage import as_value
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.numpy.contraction import diagonal_of
from funcgrad.ops import structural as s
from funcgrad.ops.contraction import contract, same_dtype
from funcgrad.ops.promotion import result_type_of, to_array

Label = Any  # a letter, an integer of the sublist form, or ("...", i): an ellipsis' axis i, counted from the right
Labels = tuple[Label, ...]


def einsum(subscripts: Any, /, *operands: Any, out: None = None, optimize: Any = "auto", precision: Any = None,
           preferred_element_type: Any = None, out_sharding: None = None) -> Any:
    """The sum of products that the subscripts describe.

    Args:
      subscripts: a letter for each axis of each operand, with commas between, and after ``->`` those of the result.
        An ellipsis stands for any number of broadcast axes. Without ``->`` the result has the ellipsis, then the
        letters that occur once, sorted. A letter repeated in one operand takes a diagonal; one that the result lacks
        is summed over. Alternatively ``einsum(x, [0, 1], y, [1, 2], [0, 2])``, with integers for letters.
      operands: arrays; different dtypes are promoted.
      out: must be None: arrays are immutable.
      optimize: the order of the products: "auto", "optimal", "greedy", True, False (from left to right), or a list of
        tuples as from ``einsum_path``.
      precision: "high" or "tensorfloat32" lets a GPU round operands of float32 to 10 bits; otherwise products are computed
        at the full precision of the dtype.
      preferred_element_type: the dtype in which products are accumulated and returned.
      out_sharding: accepted for compatibility; it must be None.

    Raises ValueError when the subscripts are malformed or do not fit the operands.

    >>> einsum("ii->i", fnp.arange(4.).reshape(2, 2))
    Array([0., 3.], dtype=float64)
    """
    if out is not None:
        raise NotImplementedError("einsum: arrays are immutable, so out= cannot be filled; use the result instead")
    if out_sharding is not None:
        raise ValueError("einsum: out_sharding needs several devices, which funcgrad does not use; leave it out")
    subscripts, operands = _canonical_call("einsum", subscripts, operands)
    dtype, weak = result_type_of("einsum", operands)
    if preferred_element_type is not None:
        preferred_element_type = dtypes.as_dtype(preferred_element_type)
    operands = [to_array(x) for x in operands]
    values = [x if x.dtype == dtype else s.convert_element_type(x, dtype, weak_type=weak) for x in operands]
    for function, positions, settings in _steps(subscripts, tuple([x.shape for x in values]), _hashable(optimize)):
        if len(positions) == 1:
            values[positions[0]] = function(values[positions[0]], *settings)
        else:
            pair = [values[i] for i in positions]
            for i in sorted(positions, reverse=True):
                del values[i]
            values.append(function(*pair, *settings, preferred_element_type, precision))
    result = as_value(values[0])  # an ndarray of the user's, if there was nothing to do
    return result if preferred_element_type is None else s.convert_element_type(result, preferred_element_type)


def einsum_path(subscripts: Any, /, *operands: Any, optimize: Any = "auto") -> tuple[list[tuple[int, ...]], str]:
    """The order in which ``einsum`` multiplies: a list of tuples of positions, and a readable account of the cost.

    Each step takes the operands at its positions out of the list and appends their product.
    """
    subscripts, operands = _canonical_call("einsum_path", subscripts, operands)
    inputs, output = _labels(subscripts, tuple([_ndim(x) for x in operands]))
    inputs, shapes, _ = _without_broadcasting(inputs, tuple([getattr(x, "shape", ()) for x in operands]))
    path, text = _numpy_path(inputs, output, shapes, _hashable(optimize))
    return [tuple(step) for step in path], text


def _ndim(x: Any) -> int:
    return len(getattr(x, "shape", ()))


def _hashable(optimize: Any) -> Any:
    if isinstance(optimize, (str, bool)):
        return optimize
    return tuple([step if isinstance(step, str) else tuple(step) for step in optimize])


# ---------------------------------------------------------------- reading the subscripts


def _canonical_call(name: str, subscripts: Any, operands: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The subscripts as a string or as a tuple of tuples (the last is the output or None), and the operands."""
    if isinstance(subscripts, str):
        if not operands:
            raise ValueError(message(f"{name}: no operands", repr(subscripts), "an array for each of the subscripts"))
        return subscripts, list(operands)
    parts = [subscripts, *operands]
    output = tuple(parts.pop()) if len(parts) % 2 else None
    try:
        return (*[tuple(labels) for labels in parts[1::2]], output), parts[::2]
    except TypeError:
        raise TypeError(message(f"{name}: the subscripts are neither a string nor lists",
                                ", ".join(map(describe, parts)),
                                'einsum("ij,jk->ik", x, y) or einsum(x, [0, 1], y, [1, 2], [0, 2])')) from None


@functools.lru_cache(maxsize=4096)
def _labels(subscripts: Any, ndims: tuple[int, ...]) -> tuple[tuple[Labels, ...], Labels]:
    """One label for each axis of each operand, and those of the result."""
    terms, output = _from_string(subscripts) if isinstance(subscripts, str) else (subscripts[:-1], subscripts[-1])
    if len(terms) != len(ndims):
        raise ValueError(message("einsum: one term of subscripts is needed for each operand",
                                 f"{len(terms)} terms in {subscripts!r} and {len(ndims)} operands"))
    inputs = tuple([_spread(terms[i], ndim, i, subscripts) for i, ndim in enumerate(ndims)])
    counts = Counter(label for labels in inputs for label in labels)
    broadcast = tuple(sorted((label for label in counts if isinstance(label, tuple)), key=lambda label: -label[1]))
    if output is None:
        once = sorted(label for label, n in counts.items() if n == 1 and not isinstance(label, tuple))
        return inputs, (*broadcast, *once)
    result: list[Label] = []
    for label in output:
        result += broadcast if label is Ellipsis else [label]
    unknown = [label for label in result if label not in counts]
    if unknown:
        raise ValueError(message(f"einsum: the output label {unknown[0]!r} is in no operand", repr(subscripts)))
    twice = [label for label, n in Counter(result).items() if n > 1]
    if twice:
        raise ValueError(message(f"einsum: the output label {twice[0]!r} appears more than once", repr(subscripts)))
    return inputs, tuple(result)


def _from_string(subscripts: str) -> tuple[list[Labels], Labels | None]:
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = [_tokens(term, subscripts) for term in left.split(",")]
    return terms, _tokens(right, subscripts) if arrow else None


def _tokens(term: str, subscripts: str) -> Labels:
    labels = [Ellipsis if c == "." else c for c in term.replace("...", ".")]
    if term.count(".") not in (0, 3) or "..." not in term and "." in term:
        raise ValueError(message("einsum: an ellipsis is three dots, once in a term", repr(subscripts)))
    wrong = [c for c in labels if c is not Ellipsis and not c.isalpha()]
    if wrong:
        raise ValueError(message(f"einsum: the character {wrong[0]!r} is not a label", repr(subscripts),
                                 "letters, commas, spaces, '...' and one '->'"))
    return tuple(labels)


def _spread(term: Labels, ndim: int, position: int, subscripts: Any) -> Labels:
    """The labels of one operand, with its ellipsis replaced by a label for each axis it stands for."""
    missing = ndim - len(term) + (Ellipsis in term)
    if missing < 0 or missing and Ellipsis not in term:
        raise ValueError(message("einsum: the subscripts do not fit the axes of an operand",
                                 f"term {position} of {subscripts!r}, whose operand has {ndim} axes"))
    labels: list[Label] = []
    for label in term:
        labels += [("...", i) for i in reversed(range(missing))] if label is Ellipsis else [label]
    return tuple(labels)


# ---------------------------------------------------------------- planning


@functools.lru_cache(maxsize=4096)
def _steps(subscripts: Any, shapes: tuple[Shape, ...], optimize: Any) -> tuple[tuple[Callable, tuple, tuple], ...]:
    """What to do, as (function, positions, settings).

    A step on one operand replaces it; a step on two takes them out of the list and appends its result.
    """
    inputs, output = _labels(subscripts, tuple(map(len, shapes)))
    inputs, shapes, steps = _without_broadcasting(inputs, shapes)
    terms = list(inputs)
    for i, labels in enumerate(terms):
        terms[i] = _diagonals(labels, i, steps)
    for i, labels in enumerate(terms):
        terms[i] = _sums(labels, i, terms[:i] + terms[i + 1:], output, steps)
    for positions in _path(tuple(terms), output, inputs, shapes, optimize):
        where = list(positions)
        while len(where) > 1:  # a step on many operands multiplies them from left to right
            pair = where[:2]
            rest = [labels for i, labels in enumerate(terms) if i not in pair]
            labels = _product(terms[pair[0]], terms[pair[1]], tuple(pair), rest, output, steps)
            terms = [*rest, labels]
            where = [len(terms) - 1] + [i - sum(p < i for p in pair) for i in where[2:]]
    labels, = terms
    if labels != output:
        steps.append((s.transpose, (0,), (tuple([labels.index(label) for label in output]),)))
    return tuple(steps)


def _without_broadcasting(inputs: tuple[Labels, ...], shapes: tuple[Shape, ...]) -> tuple[tuple, tuple, list]:
    """Operands without the axes of size 1 whose label has another size elsewhere, and the steps that drop them."""
    sizes: dict[Label, int] = {}
    for labels, shape in zip(inputs, shapes, strict=True):
        for label, n in zip(labels, shape, strict=True):
            if sizes.setdefault(label, n) in (1, n):
                sizes[label] = n
            elif n != 1:
                name = "..." if isinstance(label, tuple) else repr(label)
                found = f"{sizes[label]} and {n}, in operands of shapes {', '.join(map(str, shapes))}"
                raise ValueError(message(f"einsum: the label {name} has two sizes", found, "equal sizes, or 1"))
    steps: list = []
    new_inputs, new_shapes = [], []
    for i, (labels, shape) in enumerate(zip(inputs, shapes, strict=True)):
        kept = [d for d, label in enumerate(labels) if shape[d] == sizes[label]]
        if len(kept) < len(labels):
            shape = tuple([shape[d] for d in kept])
            labels = tuple([labels[d] for d in kept])
            steps.append((s.reshape, (i,), (shape,)))
        new_inputs.append(labels)
        new_shapes.append(shape)
    return tuple(new_inputs), tuple(new_shapes), steps


def _diagonals(labels: Labels, i: int, steps: list) -> Labels:
    """Each repeated label of an operand becomes one axis."""
    for label, n in Counter(labels).items():
        for _ in range(n - 1):
            first = labels.index(label)
            second = labels.index(label, first + 1)
            steps.append((diagonal_of, (i,), (first, second)))
            labels = tuple([x for d, x in enumerate(labels) if d not in (first, second)]) + (label,)
    return labels


def _sums(labels: Labels, i: int, others: Sequence[Labels], output: Labels, steps: list) -> Labels:
    """Labels that nothing else needs are summed over."""
    needed = {*output, *[label for term in others for label in term]}
    axes = tuple([d for d, label in enumerate(labels) if label not in needed])
    if axes:
        steps.append((s.sum_over, (i,), (axes,)))
    return tuple([label for label in labels if label in needed])


def _product(left: Labels, right: Labels, pair: tuple[int, int], rest: Sequence[Labels], output: Labels,
             steps: list) -> Labels:
    """One contraction. The operands are swapped if that gives the labels in the order of the output."""
    needed = {*output, *[label for term in rest for label in term]}
    both = [label for label in left if label in right]
    kept, summed = [x for x in both if x in needed], [x for x in both if x not in needed]
    results = [tuple(kept + [x for x in a if x not in both] + [x for x in b if x not in both])
               for a, b in ((left, right), (right, left))]
    if results[0] != output and results[1] == output:
        left, right, pair, results = right, left, pair[::-1], results[::-1]
    dimensions = tuple([tuple([tuple([term.index(x) for x in labels]) for term in (left, right)])
                        for labels in (summed, kept)])
    steps.append((_contract, pair, (dimensions,)))
    return results[0]


def _contract(x: Any, y: Any, dimensions: Any, preferred: Any, precision: Any) -> Any:
    return contract("einsum", *same_dtype("einsum", x, y), dimensions, preferred, precision)


# ---------------------------------------------------------------- the order of the products


def _path(terms: tuple[Labels, ...], output: Labels, inputs: tuple[Labels, ...], shapes: tuple[Shape, ...],
          optimize: Any) -> list[tuple[int, ...]]:
    if len(terms) <= 2:
        return [tuple(range(len(terms)))]
    sizes: dict[Label, int] = {}
    for labels, shape in zip(inputs, shapes, strict=True):
        sizes.update(zip(labels, shape, strict=True))
    return _numpy_path(terms, output, tuple([tuple([sizes[x] for x in term]) for term in terms]), optimize)[0]


def _numpy_path(terms: tuple[Labels, ...], output: Labels, shapes: tuple[Shape, ...],
                optimize: Any) -> tuple[list[tuple[int, ...]], str]:
    """The order that ``np.einsum_path`` finds for the shapes; from left to right when the letters do not suffice."""
    if isinstance(optimize, tuple):
        optimize = [step for step in optimize if step != "einsum_path"]
        _check_path(optimize, len(terms))
        return optimize, "as given"
    if optimize is True or optimize == "auto":
        optimize = "optimal" if len(terms) <= 4 else "greedy"
    if optimize not in (False, "optimal", "greedy"):
        raise ValueError(message("einsum: optimize is unknown", repr(optimize),
                                 '"auto", "optimal", "greedy", True, False or a list of tuples'))
    letters = dict(zip(dict.fromkeys(label for term in terms for label in term), string.ascii_letters, strict=False))
    if optimize is False or any(label not in letters for term in terms for label in term):
        return [tuple(range(len(terms)))], "left to right"
    text = ",".join("".join(letters[x] for x in term) for term in terms) + "->" + "".join(letters[x] for x in output)
    stand_ins = [np.broadcast_to(np.float64(0), shape) for shape in shapes]  # only the shapes matter
    path, account = np.einsum_path(text, *stand_ins, optimize=optimize)
    return path[1:], account


def _check_path(path: list, count: int) -> None:
    for step in path:
        if not step or len(set(step)) != len(step) or not all(0 <= i < count for i in step):
            raise ValueError(message("einsum: the path in optimize does not fit the operands",
                                     f"{step} with {count} left"))
        count -= len(step) - 1
    if count != 1:
        raise ValueError(message("einsum: the path in optimize leaves more than one operand", repr(path)))
