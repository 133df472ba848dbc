"""The public derivatives: grad, value_and_grad, vjp, jvp, linearize, linear_transpose, jacobians, Hessians.

In: functions of pytrees. Out: functions of pytrees, that compose with each other and with ``vmap`` and ``jit``.

    >>> import funcgrad as fg
    >>> fg.grad(fg.grad(lambda x: x ** 3))(2.0)
    Array(12., dtype=float64, weak_type=True)
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import CudaArray, DeviceArray, aval_of, describe, on_device
from funcgrad.core.device import Device
from funcgrad.core.primitive import Linear
from funcgrad.core.stage import as_value
from funcgrad.core.trace import carried
from funcgrad.core.types import Zero, shaped_array, tangent_aval
from funcgrad.errors import message
from funcgrad.ops.structural import convert_element_type, instantiate, moveaxis, reshape, slice_in_dim, zeros
from funcgrad.transforms.arguments import FlatFunction, argument_names, flatten_args, function_name, leaf_paths, wraps
from funcgrad.transforms.jvp import jvp_flat
from funcgrad.transforms.linearize import linearize_flat
from funcgrad.transforms.transpose import backward, transpose_flat
from funcgrad.transforms.vmap import Axis, map_flat, to_front
from funcgrad.tree import keystr, tree_flatten, tree_leaves, tree_leaves_with_path, tree_structure, tree_unflatten


def quiet() -> np.errstate:
    """Inside transformations NaN and inf pass without NumPy's warnings, as in compiled code."""
    return np.errstate(all="ignore")


# ---------------------------------------------------------------- reverse mode


def value_and_grad(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False,
                   allow_int: bool = False) -> Callable:
    """A function that returns ``(fun(*args), gradient)``.

    Args:
      fun: returns a real scalar (a complex one with ``holomorphic``).
      argnums: which positional arguments to differentiate; an integer gives the gradient of that argument, a sequence
        a tuple of gradients. Each gradient has the tree, shapes and dtypes of its argument.
      has_aux: ``fun`` returns ``(scalar, aux)``; the result is ``((scalar, aux), gradient)``.
      holomorphic: ``fun`` is a holomorphic function of complex arguments; the gradient is its complex derivative.
      allow_int: integer arguments are allowed; their gradient has dtype float0.

    The gradient of a real result by a complex argument x + iy is df/dx - i df/dy, as in JAX: the conjugate of the direction
    of steepest ascent, so a step of descent is ``z - rate * g.conj()``.

    Raises TypeError for a result that is not a scalar, or an argument that is not floating point.

    >>> import funcgrad as fg
    >>> fg.value_and_grad(lambda x: x * x)(3.0)
    (Array(9., dtype=float64, weak_type=True), Array(6., dtype=float64, weak_type=True))
    """
    check_callable(fun, "grad")
    single = isinstance(argnums, (int, np.integer))

    @wraps(fun, "value_and_grad")
    def value_and_grad_fun(*args: Any, **kwargs: Any) -> Any:
        positions = _positions(fun, (argnums,) if single else tuple(argnums), len(args))  # type: ignore[arg-type]
        chosen = tuple([args[i] for i in positions])
        leaves, tree = flatten_args(fun, chosen, "grad")
        active = _check_inputs(fun, leaves, args, positions, holomorphic, allow_int)
        flat = FlatFunction(_at_positions(fun, args, positions), tree, "grad", kwargs, has_aux)
        with quiet():
            outs, indices, tape = linearize_flat(flat, leaves, active)
            result, = _check_scalar(fun, outs[:1] if has_aux else outs, flat.out_tree, holomorphic)
            seed = _one(result)
            cts = iter(backward(tape, indices[:1], [seed], sum(active)))
        gradients = [_as_gradient(next(cts), x.aval, _place(x)) if a else np.zeros(x.shape, dtypes.float0)
                     for a, x in zip(active, leaves, strict=True)]
        gradient = tree_unflatten(tree, gradients)
        value = tree_unflatten(flat.out_tree, [result])
        if has_aux:
            value = (value, tree_unflatten(flat.aux, outs[1:]))
        return value, gradient[0] if single else gradient

    return value_and_grad_fun


def grad(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False,
         allow_int: bool = False) -> Callable:
    """The gradient of a scalar function: the function ``x -> d fun / d x``. Arguments as in ``value_and_grad``.

    >>> import funcgrad as fg
    >>> fg.grad(lambda a: a + a)(1.0)
    Array(2., dtype=float64, weak_type=True)
    """
    both = value_and_grad(fun, argnums, has_aux, holomorphic, allow_int)

    @wraps(fun, "grad")
    def grad_fun(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return grad_fun


def vjp(fun: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """``(fun(*primals), pullback)``; the pullback maps cotangents of the result to a tuple of cotangents of the primals.

    With ``has_aux``, ``fun`` returns ``(result, aux)`` and the result is ``(result, pullback, aux)``.

    >>> import funcgrad as fg
    >>> y, pullback = fg.vjp(lambda x, y: x * y, 2.0, 3.0)
    >>> [float(ct) for ct in pullback(1.0)]
    [3.0, 2.0]
    """
    check_callable(fun, "vjp")
    leaves, tree = flatten_args(fun, primals, "vjp")
    active = [dtypes.is_inexact(x.dtype) for x in leaves]
    flat = FlatFunction(fun, tree, "vjp", has_aux=has_aux)
    with quiet():
        outs, indices, tape = linearize_flat(flat, leaves, active, "vjp")
    out_tree, count = flat.out_tree, flat.out_tree.num_leaves
    in_avals, places = [aval_of(x) for x in leaves], [_place(x) for x in leaves]
    out_avals = [aval_of(x) for x in outs[:count]]
    indices = indices[:count]

    def pullback(cotangents: Any) -> tuple:
        cts = check_like(fun, "vjp: the cotangents", cotangents, out_tree, out_avals)
        with quiet():
            results = iter(backward(tape, indices, cts, sum(active)))
        return tree_unflatten(tree, [_as_gradient(next(results), a, place) if on else np.zeros(a.shape, dtypes.float0)
                                     for on, a, place in zip(active, in_avals, places, strict=True)])

    out = tree_unflatten(out_tree, outs[:count])
    return (out, pullback, tree_unflatten(flat.aux, outs[count:])) if has_aux else (out, pullback)


# ---------------------------------------------------------------- forward mode


def jvp(fun: Callable, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> tuple:
    """``(fun(*primals), derivative of fun at the primals along the tangents)``.

    ``primals`` and ``tangents`` are tuples or lists of equal trees, shapes and dtypes; the tangent of an integer has
    dtype float0. Raises TypeError otherwise.

    >>> import funcgrad as fg
    >>> fg.jvp(lambda x: x * x, (3.0,), (1.0,))[1]
    Array(6., dtype=float64, weak_type=True)
    """
    check_callable(fun, "jvp")
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError(message("jvp: primals and tangents must be tuples or lists",
                                f"{type(primals).__name__} and {type(tangents).__name__}", None,
                                "fg.jvp(f, (x,), (x_dot,))"))
    leaves, tree = flatten_args(fun, tuple(primals), "jvp")
    dots = check_like(fun, "jvp: the tangents", tuple(tangents), tree, [aval_of(x) for x in leaves],
                       leaf_paths(fun, primals))
    flat = FlatFunction(fun, tree, "jvp", has_aux=has_aux)
    with quiet():
        outs, out_dots = jvp_flat(flat, leaves, dots)
        count = flat.out_tree.num_leaves
        out_dots = [_as_gradient(None, t.aval, _place(y)) if type(t) is Zero else t
                    for t, y in zip(out_dots[:count], outs, strict=False)]
    result = tree_unflatten(flat.out_tree, outs[:count]), tree_unflatten(flat.out_tree, out_dots)
    return (*result, tree_unflatten(flat.aux, outs[count:])) if has_aux else result


def linearize(fun: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """``(fun(*primals), f_jvp)`` where ``f_jvp(*tangents)`` is the derivative, computed without running fun again.

    >>> import funcgrad as fg
    >>> y, f_jvp = fg.linearize(lambda x: x ** 3, 2.0)
    >>> float(f_jvp(1.0))
    12.0
    """
    check_callable(fun, "linearize")
    leaves, tree = flatten_args(fun, primals, "linearize")
    active = [dtypes.is_inexact(x.dtype) for x in leaves]
    flat = FlatFunction(fun, tree, "linearize", has_aux=has_aux)
    with quiet():
        outs, indices, tape = linearize_flat(flat, leaves, active, "linearize")
    out_tree, count = flat.out_tree, flat.out_tree.num_leaves
    in_avals, out_avals = [aval_of(x) for x in leaves], [aval_of(x) for x in outs[:count]]
    places = [_place(x) for x in outs[:count]]

    def f_jvp(*tangents: Any) -> Any:
        dots = check_like(fun, "linearize: the tangents", tangents, tree, in_avals)
        with quiet():
            values = tape.forward([instantiate(t) for t, a in zip(dots, active, strict=True) if a])
            results = [_as_gradient(None if i is None else values[i], tangent_aval(a), place)
                       for i, a, place in zip(indices, out_avals, places, strict=False)]
        return tree_unflatten(out_tree, results)

    out = tree_unflatten(out_tree, outs[:count])
    return (out, f_jvp, tree_unflatten(flat.aux, outs[count:])) if has_aux else (out, f_jvp)


def linear_transpose(fun: Callable, *primals: Any) -> Callable:
    """The transpose of a linear function: maps a cotangent of its result to a tuple of cotangents of its arguments.

    ``primals`` give only shapes and dtypes (arrays, or ``fg.ShapeDtypeStruct``). Raises TypeError, when the transpose
    is applied, if fun is not linear.

    >>> import funcgrad as fg
    >>> float(fg.linear_transpose(lambda x: 3.0 * x, 1.0)(2.0)[0])
    6.0
    """
    check_callable(fun, "linear_transpose")
    leaves, tree = tree_flatten(primals)
    avals = [shaped_array(tuple(x.shape), np.dtype(x.dtype)) if hasattr(x, "shape") else aval_of(x) for x in leaves]
    for aval in avals:
        if not dtypes.is_inexact(aval.dtype):
            raise TypeError(message("linear_transpose: the arguments must be floating point or complex", aval, None,
                                    "close over integer arguments"))

    def transposed(cotangents: Any) -> tuple:
        flat = FlatFunction(fun, tree, "linear_transpose")
        leaves = [as_cotangent(ct) for ct in tree_leaves(cotangents)]

        def checked(*xs: Any) -> list[Any]:
            outs = flat(*xs)
            check_like(fun, "linear_transpose: the cotangents", cotangents, flat.out_tree, [aval_of(x) for x in outs])
            return outs

        with quiet():
            cts = transpose_flat(checked, [Linear(a) for a in avals], leaves)
        return tree_unflatten(tree, [zeros(a) if ct is None else ct for ct, a in zip(cts, avals, strict=True)])

    return transposed


# ---------------------------------------------------------------- jacobians and Hessians


def jacfwd(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False) -> Callable:
    """The Jacobian by forward mode, one column at a time in one batch: good when there are few inputs.

    For an argument of shape s and a result of shape r the Jacobian has shape r + s; trees of results and arguments
    nest in that order.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> fg.jacfwd(lambda x: x * x)(fnp.array([1., 2.]))
    Array([[2., 0.],
           [0., 4.]], dtype=float64)
    """
    check_callable(fun, "jacfwd")
    single = isinstance(argnums, (int, np.integer))

    @wraps(fun, "jacfwd")
    def jacfwd_fun(*args: Any, **kwargs: Any) -> Any:
        positions = _positions(fun, (argnums,) if single else tuple(argnums), len(args))  # type: ignore[arg-type]
        leaves, tree = flatten_args(fun, tuple([args[i] for i in positions]), "jacfwd")
        _check_inputs(fun, leaves, args, positions, holomorphic, False, "jacfwd")
        flat = FlatFunction(_at_positions(fun, args, positions), tree, "jacfwd", kwargs, has_aux)
        sizes = [x.size for x in leaves]
        with quiet():
            # One batch over all input elements: tangents of leaf i are rows of an identity, zero elsewhere.
            basis = _basis(leaves, sizes)

            def directional(*dots: Any) -> list[Any]:
                outs, out_dots = jvp_flat(flat, leaves, dots)
                count = flat.out_tree.num_leaves
                return [*[instantiate(t) for t in out_dots[:count]], *outs]

            results, axes = map_flat(directional, Axis(sum(sizes)), basis, [0] * len(basis))
            count = flat.out_tree.num_leaves
            _check_holomorphic(fun, results[:count], holomorphic, "jacfwd")
            rows = [_at(to_front(x, d, sum(sizes)), _place(y))
                    for x, y, d in zip(results[:count], results[count:], axes[:count], strict=False)]
            columns = [_split_jacobian(x, leaves, sizes, columns=True) for x in rows]
        jacobian = _jacobian_tree(columns, flat.out_tree, tree, single)
        return (jacobian, tree_unflatten(flat.aux, results[2 * count:])) if has_aux else jacobian

    return jacfwd_fun


def jacrev(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False,
           allow_int: bool = False) -> Callable:
    """The Jacobian by reverse mode, one row at a time in one batch: good when there are few outputs.

    Shapes as in ``jacfwd``.
    """
    check_callable(fun, "jacrev")
    single = isinstance(argnums, (int, np.integer))

    @wraps(fun, "jacrev")
    def jacrev_fun(*args: Any, **kwargs: Any) -> Any:
        positions = _positions(fun, (argnums,) if single else tuple(argnums), len(args))  # type: ignore[arg-type]
        leaves, tree = flatten_args(fun, tuple([args[i] for i in positions]), "jacrev")
        active = _check_inputs(fun, leaves, args, positions, holomorphic, allow_int, "jacrev")
        flat = FlatFunction(_at_positions(fun, args, positions), tree, "jacrev", kwargs, has_aux)
        with quiet():
            outs, indices, tape = linearize_flat(flat, leaves, active, "jacrev")
            count = flat.out_tree.num_leaves
            sizes = [x.size for x in outs[:count]]
            for x in outs[:count]:
                if not dtypes.is_inexact(x.dtype) or x.dtype.kind == "c" and not holomorphic:
                    raise TypeError(message("jacrev: the result must be real floating point", f"{function_name(fun)} "
                                            f"returned {x.aval}", None, "holomorphic=True for holomorphic functions, or "
                                            "real and imaginary parts as two results"))
            _check_holomorphic(fun, outs[:count], holomorphic, "jacrev")

            def pull(*cts: Any) -> list[Any]:
                results = iter(backward(tape, indices[:count], cts, sum(active)))
                return [_as_gradient(next(results), x.aval, _place(x)) if a else np.zeros(x.shape, dtypes.float0)
                        for a, x in zip(active, leaves, strict=True)]

            results, axes = map_flat(pull, Axis(sum(sizes)), _basis(outs[:count], sizes), [0] * count)
            stacked = [to_front(x, d, sum(sizes)) if a else x
                       for x, d, a in zip(results, axes, active, strict=True)]
            split = [_split_jacobian(x, outs[:count], sizes, columns=False) if a else [x] * count
                     for x, a in zip(stacked, active, strict=True)]
        rows = [list(row) for row in zip(*split, strict=True)] if split else [[] for _ in sizes]
        jacobian = _jacobian_tree(rows, flat.out_tree, tree, single)
        return (jacobian, tree_unflatten(flat.aux, outs[count:])) if has_aux else jacobian

    return jacrev_fun


def hessian(fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False) -> Callable:
    """The matrix of second derivatives, by forward mode over reverse mode. For an argument of shape s: shape s + s.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> fg.hessian(lambda x: fnp.sum(x ** 3))(fnp.array([1., 2.]))
    Array([[ 6.,  0.],
           [ 0., 12.]], dtype=float64)
    """
    return jacfwd(jacrev(fun, argnums, has_aux, holomorphic), argnums, has_aux, holomorphic)


def hvp(fun: Callable, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of a scalar function times a vector, without the Hessian: forward mode over the gradient.

    ``primals`` and ``tangents`` are tuples as in ``jvp``. Returns the product for the first argument, or a tuple of
    products when there are several. Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6 (1994).

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> fg.hvp(lambda x: fnp.sum(x ** 3), (fnp.array([1., 2.]),), (fnp.array([1., 1.]),))
    Array([ 6., 12.], dtype=float64)
    """
    argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp(grad(fun, argnums), primals, tangents)[1]


# ---------------------------------------------------------------- helpers


def check_callable(fun: Any, transformation: str) -> None:
    """Raises TypeError unless fun can be called."""
    if not callable(fun):
        raise TypeError(message(f"{transformation}: expected a function", describe(fun), "a callable",
                                f"fg.{transformation}(f)(x), not fg.{transformation}(f(x))"))


def _positions(fun: Callable, argnums: tuple[int, ...], count: int) -> tuple[int, ...]:
    for i in argnums:
        if not -count <= i < count:
            raise ValueError(message(f"grad: argnums={i} names no positional argument of {function_name(fun)}",
                                     f"{count} positional arguments", f"a number from {-count} to {count - 1}",
                                     "pass the argument by position"))
    return tuple([i % count for i in argnums])


def _at_positions(fun: Callable, args: tuple, positions: tuple[int, ...]) -> Callable:
    """fun as a function of the arguments at some positions, the others fixed."""

    def at_positions(*chosen: Any, **kwargs: Any) -> Any:
        full_args = list(args)
        for i, x in zip(positions, chosen, strict=True):
            full_args[i] = x
        return fun(*full_args, **kwargs)

    at_positions.__name__ = function_name(fun)
    return at_positions


def _check_inputs(fun: Callable, leaves: list[Any], args: tuple, positions: tuple[int, ...], holomorphic: bool,
                  allow_int: bool, transformation: str = "grad") -> list[bool]:
    """Which leaves are differentiated. Raises TypeError for those that cannot be."""
    active = []
    for i, x in enumerate(leaves):
        inexact, is_complex = dtypes.is_inexact(x.dtype), x.dtype.kind == "c"
        if (not inexact and not allow_int) or (holomorphic and not is_complex) \
                or (is_complex and not holomorphic and transformation == "jacfwd"):
            named = _names_of(fun, args, positions)[i]
            needs = "complex arguments, as holomorphic=True says" if holomorphic else "real floating point arguments" \
                if inexact else "floating point or complex arguments"
            raise TypeError(message(
                f"{transformation}: an argument of {function_name(fun)} has the wrong dtype", f"{named} is {x.aval}", needs,
                "holomorphic=True, or real and imaginary parts as two arguments" if inexact and not holomorphic else
                f"x.astype(float), 3.0 instead of 3, another argnums, or allow_int=True ({transformation} of an integer "
                "is zero)" if not inexact else "x.astype(complex)"))
        active.append(inexact)
    return active


def _names_of(fun: Callable, args: tuple, positions: tuple[int, ...]) -> list[str]:
    names = argument_names(fun, len(args))
    return [names[p] + keystr(path) for p in positions for path, _ in tree_leaves_with_path(args[p])]


def _check_scalar(fun: Callable, outs: list[Any], tree: Any, holomorphic: bool) -> list[Any]:
    """Raises TypeError unless the result is one scalar of the right kind."""
    name = function_name(fun)
    if tree.num_leaves != 1 or len(outs) != 1:
        raise TypeError(message(f"grad: the result of {name} must be one scalar", f"a tree {tree}", "an array without axes",
                                "return the loss alone, or (loss, aux) with has_aux=True"))
    x = outs[0]
    if x.shape:
        raise TypeError(message(f"grad: the result of {name} must be a scalar", describe(x), "an array of shape ()",
                                "fnp.sum(...) or fnp.mean(...) of it; or jacrev, jacfwd, vjp for all its derivatives"))
    if not dtypes.is_inexact(x.dtype) or (x.dtype.kind == "c") != holomorphic:
        raise TypeError(message(f"grad: the result of {name} has the wrong dtype", describe(x), "a complex scalar, as "
                                "holomorphic=True says" if holomorphic else "a real floating point scalar",
                                "holomorphic=True, or the real part or modulus" if x.dtype.kind == "c" else None))
    return outs


def _check_holomorphic(fun: Callable, outs: Sequence[Any], holomorphic: bool, transformation: str) -> None:
    """Raises TypeError for a result that is not complex where the function was said to be holomorphic."""
    for x in outs:
        if holomorphic and x.dtype.kind != "c":
            raise TypeError(message(f"{transformation}: the result must be complex, as holomorphic=True says",
                                    f"{function_name(fun)} returned {x.dtype.name}", None,
                                    "a function of complex numbers that has a complex derivative; of a real loss, grad or "
                                    "jacrev without holomorphic=True"))


def _one(x: Any) -> Any:
    """The seed of the backward pass: 1 in the dtype of the result, where the result is."""
    return _at(DeviceArray(x.dtype.type(1), x.weak_type), _place(x))


def _place(x: Any) -> Device | None:
    """The GPU where a value is, or the one that a tracer carries; None if it is on none."""
    x = carried(x)
    return x.device if type(x) is CudaArray else None


def _at(x: Any, place: Device | None) -> Any:
    """A value that no argument has brought to a GPU, brought to where the value is to which it belongs."""
    return on_device(x, place) if place is not None and type(x) is DeviceArray else x


def _as_gradient(ct: Any, aval: Any, place: Device | None) -> Any:
    """A tangent or cotangent as an array, where the value is to which it belongs: it may be zero, or constant."""
    return _at(zeros(aval) if ct is None else ct, place)


def as_cotangent(x: Any) -> Any:
    return x if isinstance(x, Zero) or getattr(x, "dtype", None) == dtypes.float0 else as_value(x)


def check_like(fun: Callable, what: str, values: Any, tree: Any, avals: Sequence[Any],
                paths: Sequence[str] | None = None) -> list[Any]:
    """Tangents or cotangents as flat values of the types expected; TypeError or ValueError where they differ."""
    found = tree_structure(values)
    if found != tree:
        raise ValueError(message(f"{what} of {function_name(fun)} have another structure", found, tree))
    results = []
    for i, (x, aval) in enumerate(zip(tree_leaves(values), avals, strict=True)):
        expected = tangent_aval(aval)
        x = as_cotangent(x)
        if expected.dtype == dtypes.float0:
            if not isinstance(x, Zero) and x.dtype != dtypes.float0:
                raise TypeError(_mismatch(fun, what, i, x, expected, paths))
            results.append(Zero(expected))
            continue
        if isinstance(x, Zero):
            results.append(x)
            continue
        if x.dtype == dtypes.float0 or x.shape != expected.shape:
            raise TypeError(_mismatch(fun, what, i, x, expected, paths))
        if x.dtype != expected.dtype:
            if not x.weak_type or dtypes.kind(x.dtype) == "c" != dtypes.kind(expected.dtype):
                raise TypeError(_mismatch(fun, what, i, x, expected, paths))
            x = convert_element_type(x, expected.dtype)
        results.append(x)
    return results


def _mismatch(fun: Callable, what: str, i: int, x: Any, expected: Any, paths: Sequence[str] | None) -> str:
    where = paths[i] if paths else f"leaf {i}"
    return message(f"{what} of {function_name(fun)} do not fit: {where}", describe(x), expected,
                   "a value of the same shape and dtype; for integers np.zeros(shape, fg.dtypes.float0)")


def _basis(leaves: Sequence[Any], sizes: Sequence[int]) -> list[Any]:
    """For each leaf, its part of the standard basis of all of them together: shape (total, *leaf.shape)."""
    total, start, basis = sum(sizes), 0, []
    for x, n in zip(leaves, sizes, strict=True):
        rows = np.zeros((total, n), x.dtype)
        rows[np.arange(start, start + n), np.arange(n)] = 1
        basis.append(_at(DeviceArray(rows.reshape(total, *x.shape)), _place(x)))
        start += n
    return basis


def _split_jacobian(x: Any, parts: Sequence[Any], sizes: Sequence[int], columns: bool) -> list[Any]:
    """The block of a Jacobian that belongs to each part; the batch of all parts is its leading axis."""
    blocks, start = [], 0
    for part, n in zip(parts, sizes, strict=True):
        block = slice_in_dim(x, start, start + n)
        if columns:  # (n, *out) -> (*out, *in)
            block = moveaxis(block, 0, len(block.shape) - 1)
            blocks.append(reshape(block, (*block.shape[:-1], *part.shape)))
        else:
            blocks.append(reshape(block, (*part.shape, *block.shape[1:])))
        start += n
    return blocks


def _jacobian_tree(blocks: Sequence[Sequence[Any]], out_tree: Any, in_tree: Any, single: bool) -> Any:
    rows = [tree_unflatten(in_tree, row) for row in blocks]
    return tree_unflatten(out_tree, [row[0] if single else row for row in rows])

