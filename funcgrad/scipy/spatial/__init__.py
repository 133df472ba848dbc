"""Rotations, as in jax.scipy.spatial: ``transform``."""
