"""Functions that a written file defines if it needs them: what NumPy has no single call for.

In: nothing. Out: ``HELPERS``, the text of each by its name.
"""
from __future__ import annotations

HELPERS = {
    "rsqrt": "def rsqrt(x):\n    return 1 / np.sqrt(x)",
    "select": "def select(which, x, y):\n    return np.where(which, y, x)",
    "select_bool": "def select_bool(which, x, y):\n    return np.where(which, y, x)",
    "complex_of": "def complex_of(x, y):\n    return x + 1j * y",
    "pad": '''def pad(x, value, config):
    """Puts (low, high, between) values along each axis of x; a negative low or high cuts off."""
    sizes = [max(lo, 0) + max(hi, 0) + n + max(n - 1, 0) * i for n, (lo, hi, i) in zip(x.shape, config)]
    out = np.full(sizes, value, x.dtype)
    out[tuple(slice(max(lo, 0), max(lo, 0) + max(n - 1, 0) * (i + 1) + (n > 0), i + 1)
              for n, (lo, hi, i) in zip(x.shape, config))] = x
    return out[tuple(slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi, i) in zip(sizes, config))]''',
    "places": '''def places(shape, indices, dims, sizes, mode):
    """For each element of a gather, its index along every axis of the operand; and whether its window lies inside.

    dims: the axes of the result that run over the window, the axes that the window lacks, the axes that the indices address,
    and the axes of operand and indices that run together.
    """
    offset, collapsed, addressed, together, of_indices = dims
    window = [d for d in range(len(shape)) if d not in collapsed and d not in together]
    ndim = indices.ndim - 1 + len(offset)
    outer = [i for i in range(ndim) if i not in offset]

    def along(values, axes):
        full = [1] * ndim
        for n, a in zip(values.shape, axes):
            full[a] = n
        return values.reshape(full)

    at, inside = [along(np.zeros(()), [])] * len(shape), np.array(True)
    for k, d in enumerate(addressed):
        start, last = indices[..., k].astype(np.int64), max(shape[d] - max(sizes[d], d in collapsed), 0)
        if mode == "raise":
            start = np.where(start < 0, start + shape[d], start)
            if ((start < 0) | (start > last)).any():
                raise IndexError(f"an index is out of bounds for axis {d} with size {shape[d]}")
        if mode == "fill":
            inside = inside & along((start >= 0) & (start <= last), outer)
        at[d] = along(np.clip(start, 0, last), outer)
    for d, i in zip(together, of_indices):
        at[d] = along(np.arange(shape[d]), [outer[i]])
    for d, a in zip(window, offset):
        at[d] = at[d] + along(np.arange(sizes[d]), [a])
    return tuple([a.astype(np.int64) for a in at]), inside''',
    "gather": '''def gather(x, indices, dims, sizes, mode, fill, shape):
    at, inside = places(x.shape, indices, dims, sizes, mode)
    return np.broadcast_to(np.where(inside, x[at], np.asarray(fill, x.dtype)), shape)''',
    "scatter": '''def scatter(combine, x, indices, updates, dims, sizes, mode):
    """x with updates combined into it, in their order; combine is a ufunc, or None to overwrite."""
    at, inside = places(x.shape, indices, dims, sizes, mode)
    kept = np.broadcast_to(inside, updates.shape)
    at, out = tuple([np.broadcast_to(a, updates.shape)[kept] for a in at]), np.array(x)
    if combine is None:
        out[at] = updates[kept]
    else:
        combine.at(out, at, updates[kept])
    return out''',
    "window": '''def window(shape, starts, sizes, wraps):
    """Slices of these sizes; a start is moved so that they fit."""
    starts = [s + n if w and s < 0 else s for s, n, w in zip(map(int, starts), shape, wraps)]
    starts = [min(max(s, 0), n - m) for s, n, m in zip(starts, shape, sizes)]
    return tuple([slice(s, s + m) for s, m in zip(starts, sizes)])''',
    "updated": '''def updated(x, place, update):
    out = np.array(x)
    out[place] = update
    return out''',
    "add_along": '''def add_along(x, indices, axis, size):
    """Zeros, with each element of x added at its position along an axis."""
    out = np.zeros(x.shape[:axis] + (size,) + x.shape[axis + 1:], x.dtype)
    grid = list(np.indices(x.shape))
    grid[axis] = indices
    np.add.at(out, tuple(grid), x)
    return out''',
    "sort_together": '''def sort_together(arrays, axis, keys):
    order = np.lexsort(arrays[:keys][::-1], axis=axis)
    return [np.take_along_axis(x, order, axis) for x in arrays]''',
}
"""Functions that a file defines if it needs them."""
