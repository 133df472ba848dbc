"""The functions of NumPy that have no counterpart in ``funcgrad.numpy``, and why.

Out: ``IN_PLACE``, from functions that write into their argument to the form that gives a new array; ``REFUSED_METHODS``;
``REASONS``, from names to reasons. Errors quote them, and ``docs/numpy-coverage.md`` lists them.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

IN_PLACE: dict[Callable, str] = {
    np.copyto: "dst = fnp.where(mask, src, dst), or dst = src",
    np.putmask: "a = fnp.where(mask, values, a)",
    np.put: "a = fnp.put(a, ind, v, inplace=False), or a.ravel().at[ind].set(v)",
    np.place: "arr = fnp.place(arr, mask, vals, inplace=False)",
    np.put_along_axis: "arr = fnp.put_along_axis(arr, indices, values, axis, inplace=False)",
    np.fill_diagonal: "a = fnp.fill_diagonal(a, val, inplace=False)",
}

_IMMUTABLE = "arrays are immutable, so it cannot change x"
REFUSED_METHODS: dict[str, tuple[str, str]] = {
    "fill": (_IMMUTABLE, "x = fnp.full_like(x, value)"),
    "put": (_IMMUTABLE, "x = fnp.put(x, indices, values, inplace=False)"),
    "resize": (_IMMUTABLE, "x = fnp.resize(x, shape)"),
    "setfield": (_IMMUTABLE, "x = x.at[index].set(value)"),
    "itemset": (_IMMUTABLE, "x = x.at[index].set(value)"),
    "setflags": ("arrays are immutable, so their memory stays read-only", "np.array(x), a writable copy"),
    "__delitem__": (_IMMUTABLE, "x = fnp.delete(x, index)"),
    "getfield": ("there are no arrays of records", "x.view(dtype), of which a part is taken by an index"),
    "byteswap": ("elements have the order of bytes of the machine", "np.asarray(x).byteswap()"),
}
"""Methods of NumPy's arrays that raise, with the reason and what to write."""

ABSENT_ATTRIBUTES: dict[str, str] = {
    "__array_finalize__": "arrays are not a subclass of NumPy's", "__array_wrap__": "arrays are not a subclass of NumPy's",
    "__array_struct__": "``__array_interface__`` gives the same to C code",
    "__class_getitem__": "the types of arrays have no parameters",
    "__setstate__": "pickles are made by ``__reduce__``, and arrays do not change",
}
"""Other attributes of NumPy's arrays that are not there."""

_GROUPS = {
    "dates and times are not numbers that have derivatives":
        "busday_count busday_offset datetime_as_string datetime_data is_busday isnat",
    "matrices as a subclass of arrays are left to NumPy; use arrays of two axes": "asmatrix bmat",
    "it takes no arrays: it reads or changes settings of NumPy":
        "get_include getbufsize geterr geterrcall setbufsize seterr seterrcall show_config show_runtime test "
        "get_printoptions set_printoptions printoptions info",
    "it takes Python numbers and gives text": "base_repr binary_repr format_float_positional format_float_scientific",
    "it takes no arrays: it is about types, and works as it is": "mintypecode typename",
    "NumPy asks for the values, which traced values do not have: write np.stack, or np.array(..., like=x) with an array x":
        "array asarray asanyarray ascontiguousarray asfortranarray",
    "it reads files: give its result to fnp.asarray": "fromregex genfromtxt loadtxt",
    "it is about the layout of memory, which arrays of funcgrad do not show": "isfortran require as_strided",
    "it makes iterators over memory; write a loop over indices, or fg.lax.scan":
        "nested_iters nditer ndenumerate flatiter broadcast",
    "NumPy calls it with values, one element at a time: use fnp.vectorize": "vectorize",
    "they are made with array indices, which NumPy turns into its own arrays: use fnp.r_ and fnp.c_": "r_ c_",
    "NumPy converts the argument without asking; it is np.asarray with a check of values: use fnp.asarray":
        "asarray_chkfinite",
    "it calls a Python function for each element: use fnp.vectorize": "frompyfunc",
}
REASONS: dict[str, str] = {name: reason for reason, names in _GROUPS.items() for name in names.split()}

EMATH = "its dtype depends on the values: choose it with np.sqrt(x.astype(complex)) and the like"
"""Why the functions of ``np.emath`` are not there."""
