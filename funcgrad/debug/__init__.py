"""Finding out what a program does: printing and stopping in it, and where a number that is not finite came from."""
from funcgrad.debug.nans import nans
from funcgrad.debug.printing import breakpoint, callback, log, print

__all__ = ["breakpoint", "callback", "log", "nans", "print"]
