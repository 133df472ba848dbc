"""``custom_gradient``: a function that returns its result together with its pullback.

In: a function ``f(*args) -> (result, pullback)``. Out: a function that returns the result, with that derivative.

    >>> import funcgrad as fg
    >>> f = custom_gradient(lambda x: (x ** 2, lambda ct: ct * x))
    >>> float(f(3.0)), float(fg.grad(f)(3.0))
    (9.0, 3.0)
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgrad.control.custom import custom_vjp
from funcgrad.transforms.arguments import wraps
from funcgrad.transforms.staging import closure_convert
from funcgrad.tree import Partial


def custom_gradient(fun: Callable) -> Callable:
    """fun with the derivative that it returns: ``fun(*args) -> (result, pullback)``.

    The pullback maps a cotangent of the result to a tuple with one cotangent for each argument, or to the cotangent itself
    where there is one argument; it may use any value that fun computed.
    """

    def fwd(*args: Any) -> tuple:
        out, pullback = fun(*args)
        converted, captured = closure_convert(pullback, out)
        return out, (Partial(converted), captured)

    def bwd(saved: tuple, ct: Any) -> tuple:
        pullback, captured = saved
        cts = pullback(ct, *captured)
        return cts if isinstance(cts, tuple) else (cts,)

    @wraps(fun, "custom_gradient")
    def result(*args: Any) -> Any:
        return fun(*args)[0]

    custom = custom_vjp(result)
    custom.defvjp(fwd, bwd)
    return custom
