"""Why an operation gave a number that is not finite, and what to write instead.

In: the operation with which it began, the one at which it became a NaN, and what else the program does. Out: a class of
causes, in a few words, and the rewrite.

    log(0)    ->    "log outside of its domain", "the logarithm of a negative number is NaN, of 0 minus infinity: ..."
"""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from funcgrad import dtypes
from funcgrad.core.primitive import Kind
from funcgrad.debug.provenance import Record, Recorder, Step, data_of

DOMAIN = {
    "log": "the logarithm of a negative number is NaN, of 0 minus infinity: keep its argument positive. For probabilities take "
           "log_softmax or log_sigmoid of the logits; for x*log(x) take lax.xlogy or fg.scipy.special.entr",
    "log1p": "log1p needs an argument above -1",
    "log2": "the logarithm needs a positive argument", "log10": "the logarithm needs a positive argument",
    "sqrt": "the square root of a negative number is NaN: keep its argument positive, fnp.maximum(x, 0), or see why it is not; "
            "for a complex root make the argument complex",
    "rsqrt": "rsqrt needs an argument above 0: add a small number under the root",
    "asin": "asin needs an argument from -1 to 1: fnp.clip(x, -1, 1), or arctan2 of sine and cosine",
    "acos": "acos needs an argument from -1 to 1, and rounding may lead out of it: fnp.clip(x, -1, 1), or arctan2 of sine and "
            "cosine",
    "atanh": "atanh needs an argument between -1 and 1", "acosh": "acosh needs an argument of at least 1",
    "pow": "a negative number to a fractional power is NaN, 0 to a negative one infinite: keep the base positive",
    "lgamma": "lgamma is infinite at 0 and the negative integers", "digamma": "digamma is infinite at 0 and -1, -2, ...",
    "erf_inv": "erfinv needs an argument between -1 and 1", "rem": "the remainder by 0 is NaN: keep the divisor away from zero",
    "cholesky": "the matrix is not positive definite: make it symmetric and add a small multiple of the identity",
    **dict.fromkeys(("lu", "factored_solve", "triangular_solve"), "the matrix is singular: add a small multiple of the "
                                                                 "identity, or use fnp.linalg.lstsq or pinv"),
    "eigh": "the eigenvalues did not converge: see whether the matrix is finite",
}
EXP = "exp overflows above 709 in float64, 88 in float32 and 11 in float16: subtract the maximum first (fg.nn.softmax, " \
      "fg.scipy.special.logsumexp), or use fnp.logaddexp, log1p or expm1"
OVERFLOW = "the numbers are too large for the dtype: scale them, or compute in float64"
WHERE = "fnp.where computes both branches, and 0 * inf is NaN in the derivative of the one not selected. Put a harmless " \
        "number into the branch first, f(fnp.where(ok, x, 1.0)), or compute it only where it is selected: " \
        "fg.piecewise(ok, f, g, x)"
NORM = "a norm has no derivative at 0. fnp.linalg.norm takes 0 there; by hand write fnp.sqrt(fnp.sum(x * x) + eps), or " \
       "differentiate the square of the norm"
STEEP = "{0} has an infinite derivative there: add a small number inside, {0}(x + eps), or leave the point out with " \
        "fg.piecewise(ok, f, g, x)"
STEEP_LOG = "log has an infinite derivative at 0: keep its argument positive, log(fnp.maximum(x, eps)). For the log of " \
            "probabilities that logits give take fg.nn.log_sigmoid or log_softmax, for the loss " \
            "fg.nn.losses.sigmoid_binary_cross_entropy; for x*log(x) take lax.xlogy"
EIGEN = "the derivative of eigenvectors divides by the differences of eigenvalues. Where they are equal use fnp.linalg.eigh, " \
        "whose derivative is finite, or differentiate a function that does not depend on the choice of the vectors"
SMOOTH = {"exp", "exp2", "expm1", "sinh", "cosh"}


class Diagnosis(NamedTuple):
    """A class of causes, and what to write instead."""

    cause: str
    rewrite: str


def diagnose(began: Step, nan: Step | None, recorder: Recorder) -> Diagnosis:
    """The cause of a number that is not finite, from where it began and where it became a NaN."""
    record = began.record
    of = record.role.removeprefix("derivative of ") if record.role.startswith("derivative of ") else ""
    values = operands_at(began)
    if of and (not began.is_nan or np.iscomplexobj(began.value)) and _steep(of, record.name, values):
        return _steep_derivative(of, record, nan, recorder)
    if nan is not None and nan.record.name == "mul" and recorder.is_unselected(nan):
        return Diagnosis("0 * inf behind a branch of where that is not selected", WHERE)
    return _by_operation(began, values, recorder)


def _steep(of: str, name: str, values: list[Any]) -> bool:
    """Whether a derivative is infinite, rather than too large for its dtype."""
    return of not in SMOOTH and (name not in ("div", "mul", "exp", "square") or name == "div" and values[1] == 0)


def _steep_derivative(of: str, record: Record, nan: Step | None, recorder: Recorder) -> Diagnosis:
    inputs = [known[2] for x in record.args if (known := recorder.origin(x)) is not None and known[0] == of]
    if nan is not None and recorder.is_unselected(nan):
        return Diagnosis("0 * inf behind a branch of where that is not selected", WHERE)
    if of == "sqrt" and any("reduce_sum" in names for names in inputs):
        return Diagnosis("the gradient of a norm at 0", NORM)
    return Diagnosis(f"the derivative of {of} is infinite here" + (", and 0 * inf is NaN" if nan is not None else ""),
                     STEEP_LOG if of == "log" else STEEP.format(of))


def _by_operation(began: Step, values: list[Any], recorder: Recorder) -> Diagnosis:
    name, record = began.record.name, began.record
    makers = [_maker(x, recorder) for x in record.args]
    if name == "div":
        return _division(values, makers, record, recorder)
    if name in ("exp", "exp2", "expm1", "sinh", "cosh"):
        return Diagnosis("overflow of " + name, EXP)
    if name in DOMAIN:
        return Diagnosis(f"{name} outside of its domain", DOMAIN[name])
    if name == "convert_element_type":
        return Diagnosis("overflow in a conversion", f"{data_of(record.outs[0]).dtype} holds no number that large: scale "
                                                     "first, or convert to a wider dtype")
    if began.is_nan and any(np.isinf(np.asarray(data_of(x))).any() for x in record.args if _inexact(x)):
        return _of_infinities(name, values)
    if record.primitive.kind in (Kind.ELEMENTWISE, Kind.REDUCTION, Kind.CONTRACTION) and not began.is_nan:
        return Diagnosis("overflow", OVERFLOW)
    return Diagnosis(f"{name} gave a {'NaN' if began.is_nan else 'number that is not finite'}", "look at its operands")


def _division(values: list[Any], makers: list[str], record: Record, recorder: Recorder) -> Diagnosis:
    above, below = values
    if below != 0:
        kind = "inf/inf" if np.isinf(above) and np.isinf(below) else "overflow in a division"
        return Diagnosis(kind, "find what made the infinities" if np.isinf(below) else OVERFLOW)
    kind = "0/0" if above == 0 else "division by zero"
    if makers[1] == "sub" and recorder.met & {"eigh", "eig", "svd"}:
        return Diagnosis("degenerate eigenvalues", EIGEN)
    advice = "0/0 is NaN, x/0 infinite: keep the divisor away from zero"
    if makers[1] in ("sqrt", "reduce_sum", "div", "square"):
        advice += ". A standard deviation, norm or sum that may be 0: divide by it plus eps"
    else:
        advice += ". A harmless divisor where it is 0: x / fnp.where(ok, y, 1.0), or fg.piecewise(ok, f, g, x, y)"
    return Diagnosis(kind, advice)


def _of_infinities(name: str, values: list[Any]) -> Diagnosis:
    if name in ("add", "sub"):
        return Diagnosis("inf - inf", "find what made the infinities; in log(sum(exp(x))) and exp(x) / sum(exp(x)) subtract "
                                      "the maximum first")
    if name == "mul":
        return Diagnosis("0 * inf", "find what made the infinity, or put a harmless number in its place with fnp.where before "
                                    "the product")
    if name in ("dot_general", "conv_general_dilated", "reduce_sum", "cumsum"):
        return Diagnosis("0 * inf or inf - inf in a sum", "find what made the infinities")
    return Diagnosis(f"{name} of an infinity", "find what made the infinity")


def operands_at(step: Step) -> list[Any]:
    """The operands of an elementwise operation where its result is bad; of any other those without axes, else None."""
    elementwise = step.record.primitive.kind is Kind.ELEMENTWISE
    found = []
    for x in step.record.args:
        data = np.asarray(data_of(x))
        found.append(data[()] if not data.ndim else data[step.element] if elementwise else None)
    return found


def _maker(x: Any, recorder: Recorder) -> str:
    """The operation that made a value, before it was only moved."""
    known = recorder.origin(x)
    if known is None:
        return ""
    return known[2][0] if known[0] in ("broadcast_in_dim", "reshape") and known[2] else known[0]


def _inexact(x: Any) -> bool:
    return dtypes.is_inexact(data_of(x).dtype)

