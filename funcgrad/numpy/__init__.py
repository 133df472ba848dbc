"""The functions of NumPy, differentiable, batched and compiled, under the names and signatures of jax.numpy.

In: arrays of funcgrad, NumPy arrays, numbers. Out: arrays of funcgrad. Of lists these functions take
sequences of arrays alone; operators, methods, indices and NumPy's own functions take lists of numbers as arrays.

    >>> import funcgrad.numpy as fnp
    >>> fnp.sum(fnp.arange(3.) ** 2)
    Array(5., dtype=float64)

The names stand below, grouped by the file that defines them; importing this module also gives ``Array`` its methods,
``@``, indexing, and NumPy's protocols.
"""
import numpy as _np

from funcgrad.core.array import Array, install
from funcgrad.numpy import fft, linalg
from funcgrad.numpy.bits import copysign, frexp, ldexp, modf, packbits, signbit, spacing, unpackbits
from funcgrad.numpy.calculus import diff, ediff1d, gradient, interp, trapezoid, unwrap
from funcgrad.numpy.contraction import (
    OPERATORS,
    convolve,
    correlate,
    cross,
    dot,
    inner,
    kron,
    matmul,
    matvec,
    outer,
    tensordot,
    trace,
    vdot,
    vecdot,
    vecmat,
)
from funcgrad.numpy.creation import (
    arange,
    array,
    asarray,
    ascontiguousarray,
    copy,
    empty,
    empty_like,
    from_dlpack,
    frombuffer,
    fromfile,
    fromiter,
    fromstring,
    full,
    full_like,
    geomspace,
    linspace,
    logspace,
    meshgrid,
    ones,
    ones_like,
    zeros,
    zeros_like,
)
from funcgrad.numpy.files import (
    array_repr,
    array_str,
    bartlett,
    blackman,
    get_printoptions,
    hamming,
    hanning,
    kaiser,
    load,
    printoptions,
    save,
    savez,
    set_printoptions,
)
from funcgrad.numpy.functional import apply_along_axis, apply_over_axes, fromfunction, piecewise, vectorize
from funcgrad.numpy.index_tricks import c_, r_
from funcgrad.numpy.indexing import INDEXING
from funcgrad.numpy.inspection import API_VERSIONS, __array_namespace_info__
from funcgrad.numpy.manipulation import (
    append,
    array_split,
    atleast_1d,
    atleast_2d,
    atleast_3d,
    block,
    broadcast_arrays,
    broadcast_shapes,
    broadcast_to,
    column_stack,
    concat,
    concatenate,
    dsplit,
    dstack,
    expand_dims,
    hsplit,
    hstack,
    matrix_transpose,
    moveaxis,
    permute_dims,
    ravel,
    reshape,
    rollaxis,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
    unstack,
    vsplit,
    vstack,
)
from funcgrad.numpy.matrices import diag, diagflat, diagonal, eye, identity, tri, tril, triu
from funcgrad.numpy.methods import METHODS
from funcgrad.numpy.nan_reductions import (
    nanargmax,
    nanargmin,
    nancumprod,
    nancumsum,
    nanmax,
    nanmean,
    nanmin,
    nanprod,
    nanstd,
    nansum,
    nanvar,
)
from funcgrad.numpy.numpy_only import NUMPY_ONLY, sliding_window_view
from funcgrad.numpy.padding import pad
from funcgrad.numpy.polynomial import poly, polyadd, polyder, polydiv, polyint, polymul, polysub, polyval, vander
from funcgrad.numpy.protocols import PROTOCOLS, register
from funcgrad.numpy.quantiles import median, nanmedian, nanpercentile, nanquantile, percentile, quantile
from funcgrad.numpy.rearranging import (
    delete,
    flip,
    fliplr,
    flipud,
    insert,
    repeat,
    resize,
    roll,
    rot90,
    tile,
    trim_zeros,
)
from funcgrad.numpy.reductions import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    average,
    count_nonzero,
    cumprod,
    cumsum,
    cumulative_prod,
    cumulative_sum,
    max,
    mean,
    min,
    prod,
    ptp,
    std,
    sum,
    var,
)
from funcgrad.numpy.selection import (
    argwhere,
    choose,
    compress,
    diag_indices,
    diag_indices_from,
    extract,
    fill_diagonal,
    flatnonzero,
    index_exp,
    indices,
    ix_,
    mask_indices,
    mgrid,
    nonzero,
    ogrid,
    place,
    put,
    put_along_axis,
    ravel_multi_index,
    s_,
    select,
    take,
    take_along_axis,
    tril_indices,
    tril_indices_from,
    triu_indices,
    triu_indices_from,
    unravel_index,
    where,
)
from funcgrad.numpy.sets import (
    intersect1d,
    isin,
    setdiff1d,
    setxor1d,
    union1d,
    unique,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
)
from funcgrad.numpy.sorting import (
    argpartition,
    argsort,
    digitize,
    lexsort,
    partition,
    searchsorted,
    sort,
    sort_complex,
)
from funcgrad.numpy.statistics import (
    bincount,
    corrcoef,
    cov,
    histogram,
    histogram2d,
    histogram_bin_edges,
    histogramdd,
)
from funcgrad.numpy.subscripts import einsum, einsum_path
from funcgrad.numpy.types import (
    ComplexWarning,
    astype,
    bfloat16,
    bool_,
    can_cast,
    cdouble,
    character,
    complex64,
    complex128,
    complex_,
    complexfloating,
    csingle,
    double,
    finfo,
    flexible,
    float8_e3m4,
    float8_e4m3,
    float8_e4m3b11fnuz,
    float8_e4m3fn,
    float8_e4m3fnuz,
    float8_e5m2,
    float8_e5m2fnuz,
    float8_e8m0fnu,
    float16,
    float32,
    float64,
    float_,
    floating,
    generic,
    iinfo,
    inexact,
    int8,
    int16,
    int32,
    int64,
    int_,
    integer,
    isdtype,
    isscalar,
    issubdtype,
    iterable,
    ndim,
    number,
    object_,
    promote_types,
    result_type,
    shape,
    signedinteger,
    single,
    size,
    uint,
    uint8,
    uint16,
    uint32,
    uint64,
    unsignedinteger,
)
from funcgrad.numpy.ufunc import (
    add,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    frompyfunc,
    logaddexp,
    logaddexp2,
    logical_and,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    subtract,
    ufunc,
)
from funcgrad.numpy.ufuncs import (
    abs,
    absolute,
    acos,
    acosh,
    allclose,
    angle,
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    around,
    array_equal,
    array_equiv,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_count,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_not,
    bitwise_right_shift,
    cbrt,
    ceil,
    clip,
    conj,
    conjugate,
    cos,
    cosh,
    deg2rad,
    degrees,
    divide,
    divmod,
    equal,
    exp,
    exp2,
    expm1,
    fabs,
    fix,
    float_power,
    floor,
    floor_divide,
    fmax,
    fmin,
    fmod,
    gcd,
    greater,
    greater_equal,
    heaviside,
    hypot,
    imag,
    invert,
    isclose,
    iscomplex,
    iscomplexobj,
    isfinite,
    isinf,
    isnan,
    isneginf,
    isposinf,
    isreal,
    isrealobj,
    lcm,
    left_shift,
    less,
    less_equal,
    log,
    log1p,
    log2,
    logical_not,
    mod,
    nan_to_num,
    nextafter,
    not_equal,
    positive,
    pow,
    power,
    rad2deg,
    radians,
    real,
    reciprocal,
    remainder,
    right_shift,
    rint,
    round,
    sign,
    sin,
    sinc,
    sinh,
    sqrt,
    square,
    tan,
    tanh,
    true_divide,
    trunc,
)
from funcgrad.ops.numeric import log10
from funcgrad.ops.special import bessel_i0 as i0

__array_api_version__ = API_VERSIONS[-1]
pi, e, inf, nan, euler_gamma, newaxis = _np.pi, _np.e, _np.inf, _np.nan, _np.euler_gamma, None
ndarray, dtype, bool = Array, _np.dtype, bool_

install(Array, METHODS)
install(Array, OPERATORS)
install(Array, INDEXING)
install(Array, PROTOCOLS)

__all__ = [
    # constants and classes
    "bool", "dtype", "e", "euler_gamma", "inf", "nan", "ndarray", "newaxis", "pi",
    # types: element types, and questions about them
    "ComplexWarning", "astype", "bfloat16", "bool_", "can_cast", "cdouble", "character", "complex128", "complex64",
    "complex_", "complexfloating", "csingle", "double", "finfo", "flexible", "float16", "float32", "float64",
    "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "float8_e8m0fnu", "float_", "floating", "generic", "iinfo", "inexact", "int16", "int32", "int64",
    "int8", "int_", "integer", "isdtype", "isscalar", "issubdtype", "iterable", "ndim", "number", "object_", "promote_types",
    "result_type", "shape", "signedinteger", "single", "size", "uint", "uint16", "uint32", "uint64", "uint8",
    "unsignedinteger",
    # inspection: the array API standard's questions about the namespace
    "__array_api_version__", "__array_namespace_info__",
    # creation: makers of arrays
    "arange", "array", "asarray", "ascontiguousarray", "copy", "empty", "empty_like", "from_dlpack", "frombuffer",
    "fromfile", "fromiter", "fromstring", "full", "full_like", "geomspace", "linspace", "logspace", "meshgrid",
    "ones", "ones_like", "zeros", "zeros_like",
    # matrices: diagonals and triangles
    "diag", "diagflat", "diagonal", "eye", "identity", "tri", "tril", "triu",
    # files: windows, printing, files
    "array_repr", "array_str", "bartlett", "blackman", "get_printoptions", "hamming", "hanning", "kaiser", "load",
    "printoptions", "save", "savez", "set_printoptions",
    # ufuncs: elementwise functions
    "abs", "absolute", "acos", "acosh", "add", "allclose", "angle", "arccos", "arccosh", "arcsin", "arcsinh",
    "arctan", "arctan2", "arctanh", "around", "array_equal", "array_equiv", "asin", "asinh", "atan", "atan2",
    "atanh", "bitwise_and", "bitwise_count", "bitwise_invert", "bitwise_left_shift", "bitwise_not", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "cbrt", "ceil", "clip", "conj", "conjugate", "cos", "cosh", "deg2rad",
    "degrees", "divide", "divmod", "equal", "exp", "exp2", "expm1", "fabs", "fix", "float_power", "floor",
    "floor_divide", "fmax", "fmin", "fmod", "gcd", "greater", "greater_equal", "heaviside", "hypot", "imag",
    "invert", "isclose", "iscomplex", "iscomplexobj", "isfinite", "isinf", "isnan", "isneginf", "isposinf",
    "isreal", "isrealobj", "lcm", "left_shift", "less", "less_equal", "log", "log1p", "log2", "logical_and",
    "logical_not", "logical_or", "logical_xor", "maximum", "minimum", "mod", "multiply", "nan_to_num", "negative",
    "nextafter", "not_equal", "positive", "pow", "power", "rad2deg", "radians", "real", "reciprocal", "remainder",
    "right_shift", "rint", "round", "sign", "sin", "sinc", "sinh", "sqrt", "square", "subtract", "tan", "tanh",
    "true_divide", "trunc",
    # bits: parts of floating point numbers, bits
    "copysign", "frexp", "ldexp", "modf", "packbits", "signbit", "spacing", "unpackbits",
    # manipulation: shapes, joining, splitting
    "append", "array_split", "atleast_1d", "atleast_2d", "atleast_3d", "block", "broadcast_arrays",
    "broadcast_shapes", "broadcast_to", "column_stack", "concat", "concatenate", "dsplit", "dstack", "expand_dims",
    "hsplit", "hstack", "matrix_transpose", "moveaxis", "permute_dims", "ravel", "reshape", "rollaxis", "split",
    "squeeze", "stack", "swapaxes", "transpose", "unstack", "vsplit", "vstack",
    # rearranging: repeating, rolling, inserting, deleting
    "delete", "flip", "fliplr", "flipud", "insert", "repeat", "resize", "roll", "rot90", "tile", "trim_zeros",
    # padding: borders
    "pad",
    # selection: choosing elements, index arrays
    "argwhere", "choose", "compress", "diag_indices", "diag_indices_from", "extract", "fill_diagonal",
    "flatnonzero", "index_exp", "indices", "ix_", "mask_indices", "mgrid", "nonzero", "ogrid", "place", "put",
    "put_along_axis", "ravel_multi_index", "s_", "select", "take", "take_along_axis", "tril_indices",
    "tril_indices_from", "triu_indices", "triu_indices_from", "unravel_index", "where",
    # reductions: reductions
    "all", "amax", "amin", "any", "argmax", "argmin", "average", "count_nonzero", "cumprod", "cumsum",
    "cumulative_prod", "cumulative_sum", "max", "mean", "min", "prod", "ptp", "std", "sum", "var",
    # nan_reductions: reductions without NaN
    "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd",
    "nansum", "nanvar",
    # quantiles: quantiles
    "median", "nanmedian", "nanpercentile", "nanquantile", "percentile", "quantile",
    # sorting: sorting and searching
    "argpartition", "argsort", "digitize", "lexsort", "partition", "searchsorted", "sort", "sort_complex",
    # statistics: counting and covariance
    "bincount", "corrcoef", "cov", "histogram", "histogram2d", "histogram_bin_edges", "histogramdd",
    # sets: sets
    "intersect1d", "isin", "setdiff1d", "setxor1d", "union1d", "unique", "unique_all", "unique_counts",
    "unique_inverse", "unique_values",
    # contraction: products of matrices and vectors
    "convolve", "correlate", "cross", "dot", "inner", "kron", "matmul", "matvec", "outer", "tensordot", "trace",
    "vdot", "vecdot", "vecmat",
    # subscripts: einsum
    "einsum", "einsum_path",
    # fft: Fourier transforms, a module
    "fft",
    # polynomial: polynomials
    "poly", "polyadd", "polyder", "polydiv", "polyint", "polymul", "polysub", "polyval", "vander",
    # calculus: differences, integrals, interpolation
    "diff", "ediff1d", "gradient", "interp", "trapezoid", "unwrap",
    # functional, ufunc: functions of functions
    "apply_along_axis", "apply_over_axes", "fromfunction", "frompyfunc", "piecewise", "ufunc", "vectorize",
    # index_tricks: r_ and c_
    "c_", "r_",
    # ops: special functions
    "i0", "log10", "logaddexp", "logaddexp2",
]
register(_np, {name: globals()[name] for name in __all__} | NUMPY_ONLY)
register(_np._core.umath, {"clip": clip})  # what ndarray.clip calls
register(_np.lib.stride_tricks, {"sliding_window_view": sliding_window_view})
register(_np.linalg, linalg.COUNTERPARTS)
