"""The names of ``jax.experimental`` that have a counterpart here."""
from funcgrad.ops.callback import io_callback

__all__ = ["io_callback"]
