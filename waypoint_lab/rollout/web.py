"""Post JSON documents to a web server of the user, whose address may be a secret."""

import http.client
import json
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from waypoint_lab.errors import LabError

ANSWER_SECONDS = 5.0
MOST_BYTES = 1 << 16


class WebError(LabError):
    """Report a server that did not answer. The message has the server's name, and not the rest of its address."""


class _SameServer(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: another server would get the document, and perhaps the secret in the address."""

    def redirect_request(self, *_args: object, **_more: object) -> None:
        """Return no request."""


def place(url: str) -> str:
    """Return scheme and server of an address; the rest of it may be secret."""
    found = urlsplit(url)
    return f"{found.scheme}://{found.hostname}" + (f":{found.port}" if found.port else "")


def post(url: str, document: object, seconds: float = ANSWER_SECONDS) -> tuple[int, str]:
    """Post a document as JSON.

    Args:
        url: An http or https address.
        document: The document.
        seconds: Limit of the answer.

    Returns:
        Status and text of the answer, whatever the status is.

    Raises:
        WebError: There is no answer.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "waypoint-lab"}
    request = urllib.request.Request(url, json.dumps(document).encode(), headers, method="POST")  # noqa: S310
    try:
        with urllib.request.build_opener(_SameServer).open(request, timeout=seconds) as answer:
            return int(answer.status), answer.read(MOST_BYTES).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, _text(error)
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = str(getattr(error, "reason", None) or error or type(error).__name__)
        hidden = why.replace(url, place(url))  # some errors repeat the address
        raise WebError(f"{place(url)} does not answer: {' '.join(hidden.split())}") from None


def _text(answer: urllib.error.HTTPError) -> str:
    """Return the text of an answer; empty where it cannot be read."""
    try:
        with answer:
            return answer.read(MOST_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
