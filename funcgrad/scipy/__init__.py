"""The names of ``jax.scipy``: functions of SciPy that differentiate, batch and compile."""
