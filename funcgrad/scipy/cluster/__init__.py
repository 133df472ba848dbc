"""Clusters, as in jax.scipy.cluster: ``vq``."""
from funcgrad.scipy.cluster import vq as vq
