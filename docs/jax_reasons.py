"""Why names and parameters of JAX are not in funcgrad.

``REASONS``: module -> reason -> the names it holds for. ``PARAMETERS``: parameter, or "module.function.parameter" -> reason.
"""

SHARDING = "places the parts of an array on several devices; funcgrad runs on one"
DEVICES = "arrays move where the program says so; `fg.cuda.memory()` tells what a GPU holds"
FLAGS = "there are no global flags"
XLA = "a detail of XLA"
PACKED = "less than a byte wide: NumPy has no packed storage"
REFERENCES = "mutable references; arrays are immutable, `x.at[...]` gives a new one"
SCALED = "products of blocks with scales, made for the matrix units of certain GPUs; multiply by the scales"
EFFECTS = "the type of an effect inside JAX"
MODULE = "a module beyond the scope"

REASONS: dict[str, dict[str, str]] = {
    "jax": {
        SHARDING: "NamedSharding P Shard auto_pcast make_array_from_callback make_array_from_process_local_data "
                  "make_array_from_single_device_arrays make_mesh pmap remove_size_one_mesh_axis_from_type reshard set_mesh "
                  "shard_map sharding smap distributed",
        DEVICES: "array_garbage_collection_guard copy_to_host_async live_arrays memory transfer_guard "
                 "transfer_guard_device_to_device transfer_guard_device_to_host transfer_guard_host_to_device",
        FLAGS: "config debug_key_reuse default_prng_impl enable_custom_prng legacy_prng_key no_execution no_tracing "
               "numpy_dtype_promotion numpy_rank_promotion softmax_custom_jvp threefry_partitionable thread_guard "
               "make_user_context allow_f16_reductions jax2tf_associative_scan_reductions",
        "64-bit types are always on": "enable_x64",
        "`fg.debug.nans` finds where a number that is not finite came from": "debug_infs debug_nans",
        "a leaked tracer raises always, and jaxprs are always checked": "check_tracer_leaks checking_leaks enable_checks",
        "`fg.cache`, and the stages of `fg.jit(f).lower(x)`": "clear_caches explain_cache_misses log_compiles monitoring "
                                                              "profiler stages",
        REFERENCES: "Ref empty_ref free_ref freeze new_ref ref ds",
        "`fg.vjp`, whose pullback is a function of its own": "fwd_and_bwd ad",
        "deprecated there: `process_count`, `process_index`, `process_indices`": "host_count host_id host_ids",
        "extension points of JAX's own transformations": "api_util core custom_batching interpreters",
        "the boundary to XLA": "export ffi lib",
        "types for annotations; `Any` stands here": "typing",
        MODULE: "image",
        "JAX's report on its installation": "print_environment_info version",
    },
    "jax.numpy": {
        PACKED: "int1 int2 int4 uint1 uint2 uint4 float4_e2m1fn float6_e2m3fn float6_e3m2fn",
    },
    "jax.lax": {
        SHARDING: "pbroadcast pcast precv psend ragged_all_to_all with_sharding_constraint",
        "how inexact a function or a product may be: here each is as exact as its dtype": "AccuracyMode DotAlgorithm "
                                                                                          "DotAlgorithmPreset Tolerance",
        XLA: "after_all create_token dce_sink shape_as_value",
        "its bits depend on the backend of XLA; `random.bits` does not": "RandomAlgorithm rng_bit_generator rng_uniform",
        SCALED: "scaled_dot",
    },
    "jax.lax.linalg": {"each factorisation has one algorithm, LAPACK's": "EigImplementation EighImplementation SvdAlgorithm"},
    "jax.nn": {SCALED: "get_scaled_dot_general_config scaled_dot_general scaled_matmul"},
    "jax.random": {"keys are plain uint32 arrays": "key_dtype"},
    "jax.tree_util": {"a type variable for annotations": "KeyEntry", "there is one registry": "default_registry"},
    "jax.debug": {SHARDING: "inspect_array_sharding visualize_array_sharding visualize_sharding",
                  EFFECTS: "DebugEffect OrderedDebugEffect"},
    "jax.dtypes": {
        "plain TypeError": "TypePromotionError",
        "keys are plain uint32 arrays": "extended prng_key",
        "64-bit types are always on: `np.dtype(x)`": "canonicalize_dtype",
        "`fg.numpy.result_type`, and `fg.typeof(x).weak_type`": "result_type",
        "`8 * np.dtype(x).itemsize`": "itemsize_bits",
        "`fg.numpy.isdtype`": "scalar_type_of",
    },
    "jax.errors": {
        "plain TypeError and IndexError": "JAXTypeError JAXIndexError",
        "sizes are numbers": "InconclusiveDimensionOperation",
        XLA: "JaxRuntimeError",
        "keys are plain arrays, which may be used again": "KeyReuseError",
    },
    "jax.custom_derivatives": {"`fg.numpy.zeros_like`": "zero_from_primal"},
    "jax.ad_checkpoint": {
        "policies answer with a bool": "Offloadable Recompute Saveable",
    },
}

_AT_ONCE = "calls without it give a function with options set; options are given in the one call"
_JIT = "jit compiles for the one device there is, and its program needs no options"
PARAMETERS: dict[str, str] = {
    "out_sharding": SHARDING,
    "sharding": SHARDING,
    "accuracy": "each function is accurate to 2 units in the last place",
    "reduce_axes": "deprecated there",
    **{f"jax.jit.{name}": _JIT for name in (
        "in_shardings", "out_shardings", "keep_unused", "device", "backend", "compiler_options")},
    "jax.ShapeDtypeStruct.manual_axis_type": SHARDING,
    "jax.ShapeDtypeStruct.is_ref": REFERENCES,
    "jax.make_jaxpr.axis_env": "`fg.vmap(..., axis_name=...)` around the function names the axis",
    "jax.vmap.sum_match": SHARDING,
    "jax.numpy.array.args": "there only to make the rest keywords",
    "jax.numpy.clip.arr": "optional there only for deprecated names",
    "jax.numpy.einsum._dot_general": "private there",
    "jax.numpy.fromiter.args": "not supported there", "jax.numpy.fromiter.kwargs": "not supported there",
    "jax.numpy.fromiter.iterable": "as in NumPy", "jax.numpy.fromiter.dtype": "as in NumPy",
    "jax.numpy.load.args": "by keyword, as in NumPy",
    "jax.numpy.set_printoptions.args": "by their names, as in NumPy", "jax.numpy.set_printoptions.kwargs": "by their names",
    "jax.lax.all_gather.to": SHARDING,
    "jax.lax.mul.out_dtype": "convert the operands first",
    "jax.lax.random_gamma_grad.args": "they have names: a and x", "jax.lax.random_gamma_grad.a": "in the place of *args",
    "jax.lax.random_gamma_grad.x": "in the place of *args",
    "jax.lax.scan._split_transpose": "private there",
    "jax.checkpoint.concrete": "removed there", "jax.remat.concrete": "removed there",
    "jax.debug.breakpoint.kwargs": "options of JAX's own debuggers; the prompt here is that of Python's",
    "jax.debug.callback.callback": _AT_ONCE, "jax.debug.print.fmt": _AT_ONCE, "jax.debug.log.fmt": _AT_ONCE,
    "jax.debug.print._use_logging": "private there", "jax.debug.log._use_logging": "private there",
    "jax.experimental.jet.jet._": "ignored there",
    "jax.nn.standardize.algorithm": '"stable" by default: the variance from squares cancels where the mean is large',
}
