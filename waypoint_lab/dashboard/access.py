"""Checks of each request to the dashboard: the token in its address, the host and the origin."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

HEADERS = {
    # The chart library writes style elements; nothing else is inline, and no other server is asked.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
HTTP_PORT = 80  # browsers leave it out of `Host` and `Origin`


@dataclass(frozen=True)
class PageAccess:
    """The only addresses at which the dashboard answers.

    Attributes:
        token: Random first part of each path.
        port: Port on 127.0.0.1.
    """

    token: str
    port: int

    @property
    def hosts(self) -> tuple[str, str]:
        """The hosts of a browser on this machine; another name may be that of a foreign site which resolves to it."""
        port = "" if self.port == HTTP_PORT else f":{self.port}"
        return f"127.0.0.1{port}", f"localhost{port}"

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://{self.hosts[0]}/{self.token}/"

    def place(self, path: str) -> str | None:
        """Return the part of a path after the token; None where the token is not this one."""
        first, slash, rest = path.partition("?")[0].removeprefix("/").partition("/")
        known = hmac.compare_digest(first.encode(), self.token.encode())
        return rest if known and slash else None

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> str:
        """Return the reason why a request is refused; empty where it is allowed.

        Args:
            method: Its method.
            path: Its path.
            headers: Its headers, with names in any case.
        """
        given = {name.lower(): value for name, value in headers.items()}
        host, origin = given.get("host", "").removesuffix(f":{HTTP_PORT}"), given.get("origin")
        if host not in self.hosts:
            return "the host is not this dashboard's"
        if (origin is None and method != "GET") or (origin is not None and origin != f"http://{host}"):
            return "the origin is not this dashboard's"
        if given.get("sec-fetch-site", "none") not in ("none", "same-origin") and self.place(path) != "":
            return "the request comes from another site"
        if self.place(path) is None:
            return "the token is missing or wrong; open the address that `lab dashboard` prints"
        return ""
