"""Rotations, as in jax.scipy.spatial: ``transform``."""
from funcgrad.scipy.spatial import transform as transform
