"""Clusters, as in jax.scipy.cluster: ``vq``."""
