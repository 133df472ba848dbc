"""Integrals of samples, as in jax.scipy.integrate: ``trapezoid``."""
from funcgrad.numpy.calculus import trapezoid

__all__ = ["trapezoid"]
