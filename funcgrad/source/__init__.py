"""Programs as Python files, and as C functions."""
from funcgrad.source.cfunc import to_cfunc
from funcgrad.source.writer import to_source

__all__ = ["to_cfunc", "to_source"]
