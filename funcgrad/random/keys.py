"""Keys, and the random bits that they stand for.

A key is a plain ``uint32[2]`` array: ``key`` and ``PRNGKey`` return the same, and batches of keys are arrays
``uint32[..., 2]`` to be mapped over with ``vmap``. The same key always gives the same numbers, those of JAX.

    >>> from funcgrad import random
    >>> random.split(random.key(0))
    Array([[1797259609, 2579123966],
           [ 928981903, 3453687069]], dtype=uint32)
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, CudaArray, DeviceArray, describe
from funcgrad.core.stage import as_value
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.numpy.types import placed
from funcgrad.ops.elementwise import bitwise_or, bitwise_xor, shift_left, shift_right_logical
from funcgrad.ops.promotion import broadcast_shape, check_arg, inexact_arg
from funcgrad.ops.random_bits import threefry2x32
from funcgrad.ops.structural import as_shape, concatenate, convert_element_type, iota, reshape, slice_in_dim

IMPLEMENTATION = "threefry2x32"
UINT32 = np.dtype("uint32")

# ---------------------------------------------------------------- making keys


def key(seed: Any, *, impl: Any = None, dtype: Any = None) -> Array:
    """A key from a seed: the seed's two 32-bit words, as uint32[2].

    Args:
      seed: an integer; of an array's integer, 64-bit dtypes give both words and narrower ones the lower.
      impl: None or "threefry2x32", the one generator there is.
      dtype: None; here keys have no dtype of their own.

    Raises TypeError when the seed is not one integer, OverflowError for a Python int outside of int64.
    """
    check_implementation("key", impl)
    if dtype is not None:
        raise ValueError(message("random.key: keys have no dtype of their own", describe(dtype), "dtype=None",
                                 "leave it out: a key is a uint32[2] array"))
    return PRNGKey(seed)


def PRNGKey(seed: Any, *, impl: Any = None) -> Array:  # noqa: N802  JAX's name
    """As ``key``: a uint32[2] array from a seed."""
    check_implementation("PRNGKey", impl)
    if isinstance(seed, int):
        return placed("random.key", DeviceArray(_words(np.int64(seed))), None)
    aval = check_arg("random.key", seed)
    if dtypes.kind(aval.dtype) not in "iu" or aval.shape:
        raise TypeError(message("random.key: a seed must be one integer", describe(seed), "an integer without axes",
                                "fg.vmap(fg.random.key)(seeds) for many" if aval.shape else "int(seed)"))
    if isinstance(seed, (np.generic, np.ndarray, DeviceArray)):
        device = seed.device if type(seed) is CudaArray else None
        return placed("random.key", DeviceArray(_words(np.asarray(seed)[()])), device)
    low = convert_element_type(seed, UINT32)
    high = convert_element_type(shift_right_logical(seed, 32), UINT32) if aval.dtype.itemsize == 8 else low ^ low
    return concatenate([reshape(high, (1,)), reshape(low, (1,))], 0)


def _words(seed: Any) -> np.ndarray:
    value = int(seed)
    high = value >> 32 if seed.dtype.itemsize == 8 else 0
    return np.array([high & 0xFFFFFFFF, value & 0xFFFFFFFF], UINT32)


def check_implementation(name: str, impl: Any) -> None:
    """Raises ValueError for a generator that is not the one there is."""
    if impl not in (None, IMPLEMENTATION):
        raise ValueError(message(f"random.{name}: there is no such generator", describe(impl), repr(IMPLEMENTATION),
                                 "leave impl out"))


def key_data(keys: Any) -> Array:
    """The words of keys: the same array, for keys are uint32[..., 2] here."""
    return checked_keys("key_data", keys)


def wrap_key_data(key_bits_array: Any, *, impl: Any = None, dtype: Any = None) -> Array:
    """Keys from their words: the same array, checked to be uint32[..., 2]."""
    check_implementation("wrap_key_data", impl)
    return checked_keys("wrap_key_data", key_bits_array)


def key_impl(keys: Any) -> str:
    """The name of the generator of these keys."""
    checked_keys("key_impl", keys)
    return IMPLEMENTATION


def clone(key: Any) -> Array:
    """The same keys: the mark that reusing them is meant."""
    return checked_keys("clone", key)


# ---------------------------------------------------------------- checks


def checked_keys(name: str, keys: Any) -> Array:
    """One key or a batch as an Array. Raises TypeError for anything that is not uint32[..., 2]."""
    aval = check_arg(f"random.{name}", keys)
    if aval.dtype != UINT32 or aval.shape[-1:] != (2,):
        raise TypeError(message(f"random.{name}: this is not a key", describe(keys),
                                "a key from fg.random.key(seed), which is uint32[2]",
                                "fg.random.key(...) of it if it is a seed"))
    return as_value(keys)


def checked_key(name: str, key: Any) -> Array:
    """One key. Raises TypeError for what is not a key, ValueError for a batch of keys."""
    key = checked_keys(name, key)
    if len(key.shape) != 1:
        raise ValueError(message(f"random.{name}: one key is expected, not a batch of them", describe(key),
                                 "a key from fg.random.key(seed), which is uint32[2]",
                                 f"fg.vmap(fg.random.{name}) over the batch, or keys[i]"))
    return key


def checked_shape(name: str, shape: Any) -> Shape:
    """A shape argument as a tuple. Raises TypeError for what is not integers, ValueError for a negative size."""
    shape = as_shape(shape)
    if any(n < 0 for n in shape):
        raise ValueError(message(f"random.{name}: a shape with a negative size", shape, "sizes of 0 or more"))
    return shape


def parameter_shape(name: str, shape: Any, *parameters: Any) -> Shape:
    """The shape of a result: the one given, which the parameters must broadcast to, or else their common shape."""
    shapes = [np.shape(x) if not isinstance(x, Array) else x.shape for x in parameters]
    if shape is None:
        return broadcast_shape(f"random.{name}", *shapes)
    shape = checked_shape(name, shape)
    if broadcast_shape(f"random.{name}", shape, *shapes) != shape:
        raise ValueError(message(f"random.{name}: the shape does not hold the parameters",
                                 f"shape {shape} for parameters of shape {', '.join(map(str, shapes))}",
                                 "a shape that ends in theirs", "shape=None for just theirs"))
    return shape


def as_array(name: str, x: Any, position: int) -> Array:
    """An argument as an Array over memory that nobody else writes. Raises TypeError for what is not an array."""
    check_arg(f"random.{name}", x, position)
    return as_value(x)


def as_probability(name: str, x: Any, position: int) -> Array:
    """As ``as_array``; integers become float64."""
    return inexact_arg(name, as_array(name, x, position))


def float_dtype(name: str, dtype: Any) -> np.dtype:
    """A dtype argument, float64 by default. Raises ValueError when it is not a real floating point dtype."""
    result = np.dtype("float64") if dtype is None else dtypes.as_dtype(dtype)
    if dtypes.kind(result) != "f":
        raise ValueError(message(f"random.{name}: the dtype must be a real floating point one", result.name,
                                 "float16, bfloat16, float32 or float64"))
    return result


def integer_dtype(name: str, dtype: Any, error: type[Exception] = ValueError) -> np.dtype:
    """A dtype argument, int64 by default. Raises an error when it is not an integer dtype."""
    result = np.dtype("int64") if dtype is None else dtypes.as_dtype(dtype)
    if dtypes.kind(result) not in "iu":
        raise error(message(f"random.{name}: the dtype must be an integer one", result.name,
                            "int32, int64, uint8 ..."))
    return result


# ---------------------------------------------------------------- hashing


def hash_words(key: Array, shape: Shape) -> tuple[Any, Any]:
    """Two words for each place of a shape: the hash of the key and the place's number."""
    word0, word1 = (reshape(slice_in_dim(key, i, i + 1), ()) for i in (0, 1))
    size = math.prod(shape)
    if size <= 1 << 32:
        high, low = np.uint32(0), iota(UINT32, (size,))
    else:
        number = iota(np.uint64, (size,))
        high, low = (convert_element_type(n, UINT32) for n in (shift_right_logical(number, 32), number))
    return tuple([reshape(word, shape) for word in threefry2x32(word0, word1, high, low)])  # type: ignore[return-value]


def _joined(word0: Any, word1: Any) -> Array:
    """Two arrays of words as keys."""
    shape = (*word0.shape, 1)
    return concatenate([reshape(word0, shape), reshape(word1, shape)], len(shape) - 1)


def split(key: Any, num: int | tuple[int, ...] = 2) -> Array:
    """New keys from one: uint32[num, 2], or uint32[*num, 2] for a tuple. The key itself should not be used again.

    >>> from funcgrad import random
    >>> a, b = random.split(random.key(0))
    >>> random.uniform(a, (2,), "float32")
    Array([0.8423141 , 0.18237865], dtype=float32)
    """
    key = checked_key("split", key)
    return _joined(*hash_words(key, checked_shape("split", num)))


def subkeys(key: Array, num: int = 2) -> list[Array]:
    """``split`` of a checked key, as a list."""
    words = [[reshape(slice_in_dim(w, i, i + 1), (1,)) for i in range(num)] for w in hash_words(key, (num,))]
    return [concatenate(pair, 0) for pair in zip(*words, strict=True)]


def fold_in(key: Any, data: Any) -> Array:
    """A new key from a key and an integer, such as the number of a step; ``data`` is taken modulo 2**32.

    Raises OverflowError for a Python int outside of uint32, TypeError for what is not one integer.
    """
    key = checked_key("fold_in", key)
    aval = check_arg("random.fold_in", data)
    if dtypes.kind(aval.dtype) not in "iu" or aval.shape:
        raise TypeError(message("random.fold_in: the second argument must be one integer", describe(data),
                                "an integer without axes"))
    data = UINT32.type(data) if isinstance(data, int) else convert_element_type(as_value(data), UINT32)
    word0, word1 = (reshape(slice_in_dim(key, i, i + 1), ()) for i in (0, 1))
    return _joined(*threefry2x32(word0, word1, np.uint32(0), data))


def bits(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Independent random bits: an array of unsigned integers, uint64 by default.

    Raises ValueError when the dtype is not an unsigned integer.
    """
    key = checked_key("bits", key)
    dtype = np.dtype("uint64") if dtype is None else dtypes.as_dtype(dtype)
    if dtype.kind != "u":
        raise ValueError(message("random.bits: the dtype must be an unsigned integer", dtype.name,
                                "uint8, uint16, uint32 or uint64"))
    return random_bits(key, checked_shape("bits", shape), dtype)


def random_bits(key: Array, shape: Shape, dtype: np.dtype) -> Array:
    """``bits`` of checked arguments: one hash for each element, whatever its width."""
    word0, word1 = hash_words(key, shape)
    if dtype.itemsize == 8:
        high, low = (convert_element_type(w, dtype) for w in (word0, word1))
        return bitwise_or(shift_left(high, dtype.type(32)), low)
    return convert_element_type(bitwise_xor(word0, word1), dtype)
