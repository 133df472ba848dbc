"""The special functions of SciPy, under the names and signatures of ``jax.scipy.special``.

In: arrays and numbers, promoted and broadcast; integers become floats. Out: arrays of float64, or of the narrower float that
all arguments are. Real functions raise TypeError on complex arguments. The values are SciPy's; derivatives are closed forms in
further special functions, or integrals and series of their own, to any order and by every argument that is not a whole
number.

    >>> import funcgrad as fg
    >>> fg.grad(gammainc)(2.0, 3.0)
    Array(-0.19742542, dtype=float64)
"""
from funcgrad.scipy.special.entropies import (
    boxcox,
    boxcox1p,
    entr,
    expit,
    kl_div,
    log_softmax,
    logit,
    logsumexp,
    rel_entr,
    softmax,
    xlog1py,
    xlogy,
)
from funcgrad.scipy.special.gammas import (
    bernoulli,
    beta,
    betainc,
    betaln,
    comb,
    digamma,
    factorial,
    gamma,
    gammainc,
    gammaincc,
    gammaln,
    gammasgn,
    loggamma,
    multigammaln,
    poch,
    polygamma,
    zeta,
)
from funcgrad.scipy.special.integrals import (
    bessel_jn,
    exp1,
    expi,
    expn,
    fresnel,
    hyp1f1,
    hyp2f1,
    i0,
    i0e,
    i1,
    i1e,
    sici,
    spence,
    sph_harm_y,
)
from funcgrad.scipy.special.normal import (
    dawsn,
    erf,
    erfc,
    erfcx,
    erfinv,
    log_ndtr,
    ndtr,
    ndtri,
    owens_t,
    wofz,
)

__all__ = [
    "bernoulli", "bessel_jn", "beta", "betainc", "betaln", "boxcox", "boxcox1p", "comb", "dawsn", "digamma", "entr", "erf",
    "erfc", "erfcx", "erfinv", "exp1", "expi", "expit", "expn", "factorial", "fresnel", "gamma", "gammainc", "gammaincc",
    "gammaln", "gammasgn", "hyp1f1", "hyp2f1", "i0", "i0e", "i1", "i1e", "kl_div", "log_ndtr", "log_softmax", "loggamma",
    "logit", "logsumexp", "multigammaln", "ndtr", "ndtri", "owens_t", "poch", "polygamma", "rel_entr", "sici", "softmax",
    "spence", "sph_harm_y", "wofz", "xlog1py", "xlogy", "zeta",
]
