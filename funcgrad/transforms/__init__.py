"""Transformations of functions and of jaxprs: forward mode, reverse mode, batching."""
