"""The beta distribution, which gives exact tails of the binomial and of Student's distribution.

Source: DLMF, section 8.17 (https://dlmf.nist.gov/8.17), continued fraction 8.17.22.
"""

import math
from statistics import NormalDist

_PRECISION = 1e-14
_CLOSE = 1e-12  # relative distance of two quantiles that ends the search
_TERMS = 10_000  # limit of the fraction, which needs about the square root of the larger parameter
_STEPS = 200  # limit of the search for a quantile, which ends earlier where floats end


def probability(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function: P(X <= x) for X with the parameters `a` and `b`.

    Args:
        x: Between 0 and 1.
        a: Above 0; need not be a whole number.
        b: Above 0; need not be a whole number.
    """
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x > (a + 1) / (a + b + 2):  # there the fraction of the other tail converges
        return 1.0 - front * _fraction(1 - x, b, a) / b
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction, by Lentz's method."""
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / (1.0 + term * d)
            c = 1.0 + term / c
            value *= c * d
        if abs(c * d - 1.0) < _PRECISION:
            break
    return value


def quantile(p: float, a: float, b: float) -> float:
    """Return the x with P(X <= x) = `p`, between 0 and 1; arguments as in `probability`."""
    low, high = 0.0, 1.0
    # The logarithm of the odds is about normal.
    start = math.log(a / b) + NormalDist().inv_cdf(p) * math.sqrt(1 / a + 1 / b)
    x = 1 / (1 + math.exp(-max(-30.0, min(30.0, start))))
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    for _ in range(_STEPS):
        excess = probability(x, a, b) - p
        low, high = (low, x) if excess > 0 else (x, high)
        density = math.exp(min(700.0, scale + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x)))
        step = x - excess / density if density else -1.0  # Newton's, replaced by a bisection where it leaves the range
        following = step if low < step < high else (low + high) / 2
        if following in (low, high) or abs(following - x) <= _CLOSE * x:
            return following
        x = following
    return x


def student_quantile(p: float, freedom: float) -> float:
    """Return the t with P(T > t) = `p` for Student's distribution.

    Args:
        p: Between 0 and 0.5.
        freedom: Degrees of freedom, above 0.

    Source: DLMF 8.17; P(T > t) is half of P(X <= f / (f + t²)) for a beta X with f / 2 and 1 / 2.
    """
    x = quantile(2 * p, freedom / 2, 0.5)
    return math.sqrt(freedom * (1 - x) / x)
