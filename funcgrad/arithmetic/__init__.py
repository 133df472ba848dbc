"""Programs in other arithmetics: fractions, many digits, intervals, symbols; and where digits are lost."""
from funcgrad.arithmetic.interpreter import interpret
from funcgrad.arithmetic.precision import compare_precision

__all__ = ["compare_precision", "interpret"]
