"""Weights in percent, and the steps of a promotion."""

import itertools

MOST_DECIMALS = 4  # Source: Gateway API, BackendRef.weight is at most 1,000,000


class StepsError(Exception):
    """What a list of steps must be, in one line."""


def parts(percent: float) -> tuple[int, int]:
    """Whole weights of baseline and canary for a share of `percent` (0 to 100, up to four decimals).

    They add up to 100 where that is exact, else to the smallest power of ten that is: 0.1 percent is 999 and 1.
    """
    whole = round(percent * 10**MOST_DECIMALS)
    total = 100 * 10**MOST_DECIMALS
    while total > 100 and whole % 10 == 0:
        whole, total = whole // 10, total // 10
    return total - whole, whole


def shown(percent: float) -> str:
    """A weight as people write it: `0.1`, `20`."""
    return f"{percent:.{MOST_DECIMALS}f}".rstrip("0").rstrip(".")


def read_steps(text: str) -> tuple[float, ...]:
    """Steps such as `0.1,5,20,100`: above 0, at most 100, rising. Raises StepsError."""
    want = f"rising percentages above 0 and up to 100, with at most {MOST_DECIMALS} decimals, such as 1,5,20,50,100"
    try:
        steps = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise StepsError(want) from None
    rising = all(one < other for one, other in itertools.pairwise(steps))
    if not rising or not all(0 < step <= 100 and round(step, MOST_DECIMALS) == step for step in steps):
        raise StepsError(want)
    return steps
