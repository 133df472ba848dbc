"""CUDA: the words of the target, under the schedule and the kernels of the processor.

In: a jaxpr after the passes. Out: kernels for the threads of a GPU, and a machine that launches them. ``schedule`` says what
is written differently, ``writing`` how threads share a fused kernel, ``natives`` which other kernels there are, ``ptx`` makes
machine code of the sources, ``machine`` runs a program through ``driver``, which is CuPy.
"""
