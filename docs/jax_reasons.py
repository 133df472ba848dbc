"""Why names and parameters of JAX are not in funcgrad.

``REASONS``: module -> reason -> the names it holds for ("*": all others of the module). ``PENDING``: module -> names that are
about to come ("*": all). ``PARAMETERS``: parameter, "module.*.parameter" or "module.function.parameter" -> reason.
"""

PENDING = {
    "jax": "pure_callback checkpoint_policies",
    "jax.numpy": "fft linalg polyfit roots",
    "jax.numpy.linalg": "*",
    "jax.numpy.fft": "*",
    "jax.lax.linalg": "*",
    "jax.debug": "breakpoint callback print log",
    "jax.experimental.jet": "*",
    "jax.experimental.ode": "*",
}
REASONS: dict = {}
PARAMETERS: dict = {}
