"""Rows of the table of operations: special functions."""
from __future__ import annotations

import numpy as np
from operation import Operation, cplx, positive, real, row, unit

from funcgrad.ops import integrals as it
from funcgrad.ops import special as sp


def rows() -> list[Operation]:
    x, p = real(3), positive(3)
    unary = dict(erfcx=(it.erfcx, x), dawsn=(it.dawsn, x), ndtri=(it.ndtri, real(3, low=0.1, high=0.9)), expi=(it.expi, p),
                 exp1=(it.exp1, p), si=(it.si, x), ci=(it.ci, p), fresnel_s=(it.fresnel_s, x), fresnel_c=(it.fresnel_c, x),
                 spence=(it.spence, p), gamma=(sp.gamma, p), log_gamma=(sp.log_gamma, p))
    binary = dict(beta=sp.beta, betaln=sp.betaln, poch=sp.poch, xlogy=sp.xlogy, xlog1py=sp.xlog1py, owens_t=it.owens_t)
    return [
        *[row(name, function, arg) for name, (function, arg) in unary.items()],
        *[row(name, function, positive(3), positive(3)) for name, function in binary.items()],
        row("binom", sp.binom, positive(3) + 2.5, positive(3)), row("wofz", it.wofz, cplx(3), float32=False),
        row("expn", lambda v: it.expn(2, v), p), row("expn 0", lambda v: it.expn(0, v), p),
        row("bessel_j", lambda v: it.bessel_j(1.0, v), x), row("bessel_ive", lambda v: sp.bessel_ive(2.0, v), x),
        row("polar_harmonic", lambda v: it.polar_harmonic(3, np.array([-3, 0, 2]), v), x),
        row("zeta by order", lambda v: sp.zeta_by_order(v + 1.5, 2.0, 1), p),
        row("hyp1f1", it.hyp1f1, x, positive(3), real(3)), row("hyp2f1", it.hyp2f1, x, positive(3), positive(3), unit(3) * 0.8),
    ]
