"""Finding out what a program does: printing and stopping in it, and where a number that is not finite came from."""
from funcgrad.debug.nans import explain_nan, nans
from funcgrad.debug.printing import breakpoint, callback, log, print

__all__ = ["breakpoint", "callback", "explain_nan", "log", "nans", "print"]
