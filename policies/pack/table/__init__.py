"""The table of policies, read by the pack, by `lab policies`, by the documentation and by the tests."""

from collections.abc import Mapping

from ..policy import Policy
from . import external, security, traffic, waypoints

TABLE: tuple[Policy, ...] = (*traffic.ROWS, *security.ROWS, *waypoints.ROWS, *external.ROWS)
BY_NAME: Mapping[str, Policy] = {row.name: row for row in TABLE}
