"""Solvers of linear equations given by functions, as in jax.scipy.sparse: ``linalg``."""
