"""One answer to a measured request."""

from typing import NamedTuple

from waypoint_lab.config.types import Ranges, within


class Answer(NamedTuple):
    """One answer, as the client script prints it.

    `status` is 0 and `error` the reason if no answer came. `identity` identifies the backend. `seconds` is the latency,
    `at` the start of its round in seconds since 1970 by the Pod's clock, `group` the number of its group. `success` are
    the statuses that count as success.
    """

    status: int
    identity: str = ""
    proxied: bool = True
    seconds: float = 0.0
    error: str = ""
    reconnected: bool = False
    at: float = 0.0
    group: int = 0
    success: Ranges = ((200, 399),)

    @property
    def succeeded(self) -> bool:
        """True for a status that counts as success."""
        return within(self.status, self.success)

    @property
    def outcome(self) -> str:
        """The status as text, or the reason why no answer came."""
        return str(self.status) if self.status else self.error
