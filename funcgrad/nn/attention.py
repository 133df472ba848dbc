"""Scaled dot-product attention.

In: queries, keys and values, and what restricts who sees whom. Out: for each query, the mean of the values weighted by how well
their keys fit. Names and signature are those of ``jax.nn``.

    >>> query = key = value = fnp.ones((5, 2, 4))
    >>> dot_product_attention(query, key, value, is_causal=True).shape
    (5, 2, 4)
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.errors import message
from funcgrad.nn.functions import logsumexp, softmax


def dot_product_attention(query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, *, scale: float | None = None,
                          is_causal: bool = False, query_seq_lengths: Any = None, key_value_seq_lengths: Any = None,
                          local_window_size: int | tuple[int, int] | None = None, implementation: str | None = None,
                          return_residual: bool = False) -> Any:
    """``softmax(scale * query @ key.T + bias) @ value``, for each head.

    Args:
      query: [batch, T, N, H] or [T, N, H]: T positions, N heads of H numbers.
      key, value: [batch, S, K, H] or [S, K, H]; each of the K heads serves N / K heads of the query.
      bias: added to the products, broadcast to [batch, N, T, S] or [N, T, S].
      mask: bools, broadcast like ``bias``: where False, the query does not see the key.
      scale: 1 / sqrt(H) unless given.
      is_causal: position t of the query sees keys 0 ... t only.
      query_seq_lengths, key_value_seq_lengths: integers [batch]: positions from there on do not count; those of the query
        give zeros.
      local_window_size: (left, right), or one number for both: position t sees keys t - left ... t + right only.
      implementation: None or "xla": there is one.
      return_residual: return also the logarithm of the sum that the softmax divides by, [batch, T, N].

    The sums are taken in float32 at least; the result has the shape of ``query`` and the dtype of ``value``. A query that sees
    nothing gets the mean of all values. Vaswani et al., "Attention is all you need", https://arxiv.org/abs/1706.03762.
    """
    query, key, value = fnp.asarray(query), fnp.asarray(key), fnp.asarray(value)
    single = query.ndim == 3
    if implementation not in (None, "xla"):
        raise ValueError(message("dot_product_attention: there is no such implementation", repr(implementation), "None"))
    if single:
        query, key, value = query[None], key[None], value[None]
        bias, mask = ([None if x is None else x if np.ndim(x) == 4 else fnp.asarray(x)[None] for x in (bias, mask)])
    _check(query, key, value)
    rows, columns = query.shape[1], key.shape[1]
    masks = [mask, *_visible(rows, columns, is_causal, local_window_size),
             *_within(rows, columns, query_seq_lengths, key_value_seq_lengths)]
    out, logits = attend(query, key, value, [m for m in masks if m is not None], bias, scale)
    if query_seq_lengths is not None:
        out = fnp.where(_below(rows, query_seq_lengths)[:, :, None, None], out, 0)
    if not return_residual:
        return out[0] if single else out
    residual = fnp.transpose(logsumexp(logits, -1), (0, 2, 1)).astype(query.dtype)
    return (out[0], residual[0]) if single else (out, residual)


def attend(query: Any, key: Any, value: Any, masks: Sequence[Any], bias: Any = None, scale: float | None = None,
           drop: Callable | None = None) -> tuple[Any, Any]:
    """The result, of the shape of ``query``, and the logits [..., N, T, S]; ``drop`` is done to the weights."""
    *batch, rows, heads, size = query.shape
    columns, groups = key.shape[-3:-1]
    logits_dtype = fnp.promote_types(query.dtype, np.float32)
    grouped = query.reshape(*batch, rows, groups, heads // groups, size)
    logits = fnp.einsum("...tkgh,...skh->...kgts", grouped.astype(logits_dtype), key.astype(logits_dtype))
    logits = logits.reshape(*batch, heads, rows, columns) * (1 / math.sqrt(size) if scale is None else scale)
    if bias is not None:
        logits = (logits + bias).astype(logits_dtype)
    for visible in masks:
        logits = fnp.where(visible, logits, -0.7 * float(fnp.finfo(logits_dtype).max))
    weights = softmax(logits).astype(key.dtype)
    weights = weights if drop is None else drop(weights)
    weights = weights.reshape(*batch, groups, heads // groups, rows, columns)
    out = fnp.einsum("...kgts,...skh->...tkgh", weights, value)
    return out.reshape(*batch, rows, heads, value.shape[-1]), logits


def _check(query: Any, key: Any, value: Any) -> None:
    """Raises ValueError unless the shapes fit."""
    fits = query.ndim == key.ndim == value.ndim == 4 and key.shape[:3] == value.shape[:3] \
        and query.shape[0] == key.shape[0] and query.shape[3] == key.shape[3] and query.shape[2] % key.shape[2] == 0
    if not fits:
        raise ValueError(message(
            "dot_product_attention: the shapes do not fit", ", ".join(str(x.aval) for x in (query, key, value)),
            "a query [batch, T, N, H], key and value [batch, S, K, H], N a multiple of K"))


def _visible(rows: int, columns: int, is_causal: bool, window: int | tuple[int, int] | None) -> list[Any]:
    """Masks [T, S] of the keys that a query sees by its position."""
    t, s = fnp.arange(rows)[:, None], fnp.arange(columns)[None, :]
    out = [s <= t] if is_causal else []
    if window is not None:
        left, right = window if isinstance(window, tuple) else (window, window)
        out.append(fnp.logical_and(s >= t - left, s <= t + right))
    return out


def _within(rows: int, columns: int, query_lengths: Any, key_lengths: Any) -> list[Any]:
    """Masks [batch, 1, T, S] of the positions that count."""
    out = [] if query_lengths is None else [_below(rows, query_lengths)[:, None, :, None]]
    return out if key_lengths is None else [*out, _below(columns, key_lengths)[:, None, None, :]]


def _below(n: int, lengths: Any) -> Any:
    """A mask [batch, n]: whether a position is below the length."""
    return fnp.arange(n)[None, :] < fnp.asarray(lengths)[:, None]
