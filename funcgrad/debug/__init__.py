"""Finding out what a program does: so far, where a number that is not finite came from."""
from funcgrad.debug.nans import nans

__all__ = ["nans"]
