"""Model of a cohort: the requests of one group of users."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from waypoint_lab.config import types
from waypoint_lab.config.models import Model
from waypoint_lab.masking import SECRET

NAMED = ("header", "cookie", "query")  # criteria that have a value
CRITERIA = (*NAMED, "method", "path", "pathPrefix")


class CohortSettings(Model, frozen=True):
    """A group of users: requests with one property, of which exactly one is set."""

    whole: ClassVar[bool] = True

    header: types.OptionalHeaderName = ""
    """Name of a header; `value` goes with it."""
    cookie: types.OptionalHeaderName = ""
    """Name of a cookie; `value` goes with it."""
    query: types.OptionalHeaderName = ""
    """Name of a query parameter; `value` goes with it."""
    value: types.OptionalText = ""
    """Exact value of the header, the cookie or the query parameter, which is percent-encoded."""
    method: types.OptionalMethod = ""
    """Method."""
    path: types.OptionalPath = ""
    """The whole path, without the query."""
    path_prefix: types.OptionalPath = ""
    """Path of which these are the first parts: /cart is a prefix of /cart/1, and not of /cartoon."""

    @property
    def settings(self) -> dict[str, str]:
        """The settings that are set, by name."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if value}

    @property
    def problem(self) -> str:
        """The reason why the settings do not describe a cohort; empty if they do."""
        given = [name for name in CRITERIA if name in self.settings]
        if len(given) != 1:
            return f"it has {', '.join(given) or 'no criterion'}; set one of {', '.join(CRITERIA)}"
        if (given[0] in NAMED) != bool(self.value):
            return f"value goes with {', '.join(NAMED)}; set both or none"
        if self.query and self.value != SECRET and not types.SENT_QUERY.fullmatch(self.value):
            return "value is not as clients send it in a query; percent-encode it, such as red%20shoes for red shoes"
        return ""

    def request(self, method: str, path: str) -> tuple[str, str, dict[str, str]]:
        """Return method, path and headers of a request of the cohort, given those of another request."""
        if self.header:
            return method, path, {self.header.lower(): self.value}
        if self.cookie:
            return method, path, {"cookie": f"{self.cookie}={self.value}"}
        if self.query:
            joint = "&" if "?" in path else "?"
            return method, f"{path}{joint}{self.query}={self.value}", {}
        return self.method or method, self.path or self.path_prefix or path, {}

    def matches(self, method: str, path: str, headers: Mapping[str, str]) -> bool:
        """Return True for a request of the cohort; False where the value is a secret, which only Pulumi can read.

        Args:
            method: Its method.
            path: Its path, with the query if there is one.
            headers: Its headers.

        Source: Gateway API, HTTPRouteMatch; Envoy compares the first query parameter of a name.
        """
        plain, _, query = path.partition("?")
        given = {name.lower(): value.strip() for name, value in headers.items()}
        if self.value == SECRET:
            return False
        if self.header:
            return given.get(self.header.lower()) == self.value
        if self.cookie:
            return f"{self.cookie}={self.value}" in map(str.lstrip, given.get("cookie", "").split(";"))
        if self.query:
            sent = (part.partition("=") for part in query.split("&"))
            return next((value for name, _, value in sent if name == self.query), None) == self.value
        if self.path_prefix:
            return f"{plain}/".startswith(f"{self.path_prefix.rstrip('/')}/")
        return plain == self.path if self.path else method == self.method

    def __str__(self) -> str:
        """Return NAME=VALUE for a header, else the criterion before it, such as `cookie:NAME=VALUE` or `path:/cart`."""
        if self.header:
            return f"{self.header.lower()}={self.value}"
        name, text = next((name, self.settings[name]) for name in CRITERIA if name in self.settings)
        return f"{name}:{text}={self.value}" if name in NAMED else f"{name}:{text}"

    @staticmethod
    def given(text: str) -> dict[str, str]:
        """Return the settings in the text of a cohort, which are not checked. A header's name has no colon."""
        name, colon, rest = text.partition(":")
        if not colon or "=" in name:
            name, rest = "header", text
        text, equals, value = rest.partition("=") if name in NAMED else (rest, "", "")
        return {name: text, "value": value} if equals else {name: text}

    @classmethod
    def parse(cls, text: str) -> "CohortSettings":
        """Return the cohort whose text is `text`."""
        return msgspec.convert(cls.given(text), cls)
