"""Hosts of the package."""

import copy
import functools

from components.package import Package

_analyzed = functools.cache(Package)  # the analysis takes longer than a test


def host() -> Package:
    """Return a host that has built no component yet."""
    return copy.copy(_analyzed())
