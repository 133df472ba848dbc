"""erf, erfc and erf_inv, for float32 and float64.

In and out: ``Value`` objects. erf is a polynomial up to 1, and from there on 1 - exp(p(x)) with p the logarithm of erfc. erfc
is exp(-x*x) / (1 + 2x) times a polynomial in (x - 4) / (x + 4), an idea of Shepherd and Laframboise (1981); erf_inv is x times
polynomials in w = -log(1 - x*x), an idea of Giles (2010).
"""
from __future__ import annotations

import math

from funcgrad.compiler.vecmath.exponentials import exp, exp_of_sum
from funcgrad.compiler.vecmath.logarithms import log_one_plus
from funcgrad.compiler.vecmath.values import (
    Value,
    absolute,
    clip,
    copy_sign,
    fma,
    in_float64,
    polynomial,
    quick_two_sum,
    select,
    square_root,
    two_product,
    two_sum,
)

# (erf(x) - x) / x in powers of x*x, for |x| <= 1
ERF = {
    32: (8.216579590225592e-05, -0.000810645055025816, 0.0051978519186377525, -0.026858119294047356, 0.11283671855926514,
         -0.37612631916999817, 0.12837916612625122),
    64: (6.7319059045207e-11, -1.185935827964831e-09, 1.4794200936274027e-08, -1.6371800268018913e-07, 1.6463198051522188e-06,
         -1.4925745421668393e-05, 0.00012055338060636771, -0.0008548327197015662, 0.005223977629212995, -0.026866170645629486,
         0.11283791670958776, -0.37612638903183876, 0.1283791670955126),
}
# log(erfc(x)) for x from 1 to where erf(x) rounds to 1
LOG_ERFC = {
    32: (-2.1338595615816303e-05, 0.0004372839175630361, -0.004184762481600046, 0.02515559084713459, -0.10833617299795151,
         -0.6332957744598389, -1.1295403242111206, 0.0001799879828467965),
    64: (1.0798952561616675e-12, -4.9232778250002437e-11, 1.0506025088368344e-09, -1.3928204925131257e-08,
         1.2823566715140277e-07, -8.66212105686824e-07, 4.4007642520928016e-06, -1.678506027963177e-05, 4.5825877802802494e-05,
         -7.219369858454166e-05, -4.1441335663561974e-05, 0.0006361869764973532, -0.0017631854689190735,
         0.00027519572971818193, 0.019081832895358055, -0.10274913429662574, -0.636627820671252, -1.128377476178821,
         -1.645645373264601e-07),
}
# (1 + 2x) exp(x*x) erfc(x) in powers of (x - 4) / (x + 4), for x >= 0
ERFC = (-8.445810123225715e-09, -8.23385313292532e-09, 1.0151499163520216e-07, 5.5639392526838134e-08, -8.199463861671234e-07,
    3.1343325630586447e-07, 5.708958326348063e-06, -1.1234154417292886e-05, -2.4400205508383464e-05, 0.00015062639271874577,
    -0.00019925603565885679, -0.0007577744563937073, 0.0050319697914767295, -0.016197733877787404, 0.03716751556516692,
    -0.06633036582848476, 0.09373283499624964, -0.10103906603554262, 0.0680970542547622, 0.015379652102605598,
    -0.13962111684056316, 1.2329951186255526)
# erf_inv(x) / x in powers of w - 3.125 for w <= 6.25, of sqrt(w) - 3.25 for w < 16, and of sqrt(w) - 5
CENTRE = (-1.5693236249946914e-21, -1.6802299933244392e-19, 1.1747504136492827e-18, 1.1134081640767414e-17,
    -1.3074759093122912e-16, 2.1474534227383843e-17, 6.604033994022125e-15, -4.055157494675726e-14, -8.124625226767209e-14,
    2.633551958829701e-12, -1.2976560480844037e-11, -5.4154314470056024e-11, 1.0512170716453224e-09, -4.112633428237841e-09,
    -2.9070380042656388e-08, 4.2347877733487753e-07, -1.3654691876564027e-06, -1.3882523361897116e-05, 0.0001867342080261194,
    -0.0007407025341666537, -0.006033670871428111, 0.24015818242558967, 1.6536545626831027)
MIDDLE = (1.3795611144223908e-09, 9.052208760651947e-08, -2.7300647625904963e-07, 1.876465764247763e-08,
    1.5003775388199833e-06, -4.014348934334963e-06, 2.9248470470004638e-06, 1.2475537118524789e-05, -4.731872058481632e-05,
    6.828478798236081e-05, 2.4031213753913032e-05, -0.00035503751065128964, 0.0009532893671005301, -0.0016882755567977701,
    0.0024914420969327387, -0.0037512085075423925, 0.005370914553566096, 1.005258967694159, 3.0838856104922208)
TAIL = (1.1353725227758031e-11, -2.549915547651439e-10, 1.3487137505756223e-09, -3.793249365851763e-09, 7.883100932286683e-09,
    -1.4951276821419145e-08, 2.8913334346362528e-08, -6.772158441527192e-08, 2.2911891443385558e-07, -9.929773597109338e-07,
    4.526032521948288e-06, -1.9681779598086956e-05, 7.599528089784168e-05, -0.00021503011912245393, -0.00013871931852182224,
    1.0103004648645284, 4.849906401408585)


def erf(x: Value) -> Value:
    size = absolute(x)
    near = fma(size, polynomial(size * size, ERF[x.bits]), size)
    top = {32: 4.0, 64: 6.0}[x.bits]
    far = 1.0 - exp(polynomial(clip(size, 0.0, top), LOG_ERFC[x.bits]))
    return copy_sign(select(size < {32: 0.94, 64: 1.0}[x.bits], near, far), x)


@in_float64
def erfc(x: Value) -> Value:
    size = clip(absolute(x), 0.0, 30.0)
    square, lost = two_product(size, size)
    q = (size - 4.0) / (size + 4.0)
    top, top_lost = quick_two_sum(q.constant(ERFC[-1]), q * polynomial(q, ERFC[:-1]))
    bottom, bottom_lost = two_sum(2.0 * size, 1.0)
    inverse = 1.0 / bottom
    ratio = top * inverse
    rest = (fma(-ratio, bottom, top) + fma(-ratio, bottom_lost, top_lost)) * inverse
    factor = exp_of_sum(-square, -lost)
    far = fma(factor, ratio, factor * rest)
    near = fma(size, polynomial(square, ERF[64]), size)
    small = size < 0.5
    return select(x < 0.0, select(small, 1.0 + near, 2.0 - far), select(small, 1.0 - near, far))


@in_float64
def erf_inv(x: Value) -> Value:
    square, lost = two_product(x, x)
    size = absolute(x)
    # -log((1 - x) * (1 + x)): towards 1 the first factor is exact
    w = -log_one_plus(-square, -lost)
    root = square_root(w)
    p = select(w < 16.0, polynomial(root - 3.25, MIDDLE), polynomial(root - 5.0, TAIL))
    p = select(w < 6.25, polynomial(w - 3.125, CENTRE), p)
    return select(size == 1.0, copy_sign(math.inf, x), p * x)
