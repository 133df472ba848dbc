"""The remainder of a division of floats, for a processor without a function of C's: exact, as C's ``fmod`` is.

In: ``Value`` objects. Out: further ones. LLVM's own for NVIDIA's processors subtracts a rounded quotient times y, which is
wrong where the quotient has more digits than a float.
"""
from __future__ import annotations

import functools
import math
from typing import Any

from funcgrad.compiler.scalars import FLOATS, KINDS, float_divmod
from funcgrad.compiler.vecmath.values import (
    MANTISSA,
    Value,
    absolute,
    both,
    copy_sign,
    fma,
    intrinsic,
    numba_function,
    select,
)


def fmod(x: Value, y: Value) -> Value:
    """The remainder of truncating division, with the sign of x.

    One step is exact if the quotient is below 2 ** 52 (2 ** 23 for float32): its floor, or one more where rounding reached the
    next integer, is a float, and what is left of x is one too, since it is a multiple of the last place of y. Of larger
    quotients the steps take that many bits at a time: they begin with the largest y * 2 ** (52 k) that is not above x.
    """
    builder, digits = x.builder, 2.0 ** MANTISSA[x.bits]
    left, divisor = absolute(x), absolute(y)
    ordinary = both(left < math.inf, divisor > 0.0)  # neither is NaN
    left, divisor = select(ordinary, left, 0.0), select(ordinary, divisor, 1.0)
    start, climb, descend, end = builder.block, *[builder.append_basic_block(f"fmod.{n}") for n in ("climb", "descend", "end")]
    builder.branch(climb)

    builder.position_at_end(climb)
    top = x.same(builder.phi(x.type))
    higher = top * digits
    top.ir.add_incoming(divisor.ir, start)
    top.ir.add_incoming(higher.ir, climb)
    builder.cbranch((higher <= left).ir, climb, descend)

    builder.position_at_end(descend)
    rest, part = x.same(builder.phi(x.type)), x.same(builder.phi(x.type))
    after = fma(-intrinsic("trunc", rest / part), part, rest)
    after = select(after < 0.0, after + part, after)
    for phi, first, following in ((rest, left, after), (part, top, part * (1.0 / digits))):
        phi.ir.add_incoming(first.ir, climb)
        phi.ir.add_incoming(following.ir, descend)
    builder.cbranch((part > divisor).ir, descend, end)

    builder.position_at_end(end)
    result = select(left < divisor, x, copy_sign(after, x))  # also where y is infinite
    return select(ordinary, result, (x * y) / (x * y))


def floor_divide(x: Value, y: Value) -> Value:
    return float_divmod(x, y, fmod(x, y))[0]


def remainder(x: Value, y: Value) -> Value:
    """The remainder of floor division, with the sign of y."""
    return float_divmod(x, y, fmod(x, y))[1]


@functools.cache
def functions() -> dict[str, Any]:
    """What kernels for a GPU call by the names that those for the processor have for theirs."""
    found = {}
    for dtype in FLOATS:
        for function in (fmod, floor_divide, remainder):
            name = f"{function.__name__}_{dtype}"
            found[name] = numba_function(name, function, (KINDS[dtype],) * 2, KINDS[dtype])
    return found
