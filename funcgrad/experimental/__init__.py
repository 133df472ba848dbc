"""The names of ``jax.experimental`` that have a counterpart here."""
