"""Weights in percent, and the steps of a promotion."""

import itertools
from collections.abc import Sequence

MOST_DECIMALS = 4  # Source: Gateway API, BackendRef.weight is at most 1,000,000
WANTED = f"whole from 0 to 100, or below 1 with at most {MOST_DECIMALS} decimals"


class StepsError(Exception):
    """Report a list of steps that is not valid. The message is a line with the valid form."""


def allowed(percent: float) -> bool:
    """Check that `percent` is a weight: whole from 0 to 100, or below 1 with decimals, where steps are that small."""
    fine = round(percent, MOST_DECIMALS) == percent and percent < 1
    return 0 <= percent <= 100 and (fine or percent == int(percent))


def shown(percent: float) -> str:
    """Return a weight as text, such as `0.1` or `20`."""
    return f"{percent:.{MOST_DECIMALS}f}".rstrip("0").rstrip(".")


def rising(steps: Sequence[float]) -> bool:
    """Check that `steps` are at least one weight above 0, each above the one before."""
    return (
        bool(steps) and all(map(allowed, steps)) and all(one < other for one, other in itertools.pairwise((0, *steps)))
    )


def read_steps(text: str) -> tuple[float, ...]:
    """Read steps such as `0.1,5,20,100`. Raises StepsError."""
    try:
        steps = tuple(float(part) for part in text.split(","))
    except ValueError:
        steps = ()
    if not rising(steps):
        raise StepsError(f"rising percentages, {WANTED}, such as 0.1,1,5,20,50,100")
    return steps
