"""Ask an HTTP server of the user, whose address may have a password, within a limit of time."""

import base64
import http.client
import json
import queue
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import unquote, urlsplit

from waypoint_lab.errors import LabError

POST_SECONDS = 5.0
POST_BYTES = 1 << 16


class NoAnswerError(LabError):
    """Report a server that did not answer. The message has the server's name at most, and the reason."""


class _SameServer(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: another server would get the document, and perhaps the secret in the address."""

    def redirect_request(self, *_args: object, **_more: object) -> None:
        """Return no request."""


def place(url: str) -> str:
    """Return scheme and server of an address; the rest of it may be secret."""
    found = urlsplit(url)
    return f"{found.scheme}://{found.netloc.rpartition('@')[2]}"


def ask(url: str, seconds: float, most_bytes: int, document: bytes | None = None) -> tuple[int, bytes]:
    """Return status and the first bytes of an answer, whatever the status is.

    Args:
        url: An http or https address. User and password in it are sent as a header.
        seconds: Limit of the answer.
        most_bytes: Most bytes that are returned.
        document: JSON that is posted, without a redirect; None means to get the address.

    Raises:
        NoAnswerError: There is no answer, or it is cut.
    """
    found: queue.SimpleQueue[tuple[int, bytes] | Exception] = queue.SimpleQueue()
    errors: list[int] = []  # status of an error whose text is not read yet

    def run() -> None:
        try:
            found.put(_ask(_request(url, document), seconds, most_bytes, errors))
        except Exception as error:
            found.put(error)

    # The limit of a socket is one of each read, and the resolution of a name has none.
    threading.Thread(target=run, daemon=True).start()
    try:
        answer = found.get(timeout=seconds)
        if isinstance(answer, Exception):
            raise answer
    except queue.Empty:
        if errors:
            return errors[0], b""
        raise NoAnswerError("timed out") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = str(getattr(error, "reason", None) or error) or type(error).__name__
        for address in (url, _request(url).full_url):  # some errors repeat it
            why = why.replace(address, place(url))
        raise NoAnswerError(" ".join(why.split())) from None
    return answer


def post(url: str, document: object, seconds: float = POST_SECONDS) -> tuple[int, str]:
    """Post a document as JSON. Return status and text of the answer, whatever the status is.

    Raises:
        NoAnswerError: There is no answer; the message names the server.
    """
    try:
        status, text = ask(url, seconds, POST_BYTES, json.dumps(document).encode())
    except NoAnswerError as error:
        raise NoAnswerError(f"{place(url)} does not answer: {error}") from None
    return status, text.decode(errors="replace")


def _request(url: str, document: bytes | None = None) -> urllib.request.Request:
    """Return the request of an address; user and password are a header that no redirect gets."""
    parts = urlsplit(url)
    user, _, server = parts.netloc.rpartition("@")
    headers = {} if document is None else {"Content-Type": "application/json", "User-Agent": "waypoint-lab"}
    made = urllib.request.Request(parts._replace(netloc=server).geturl(), document, headers)  # noqa: S310
    if user:
        pair = base64.b64encode(unquote(user).encode()).decode()
        made.add_unredirected_header("Authorization", f"Basic {pair}")
    return made


def _ask(request: urllib.request.Request, seconds: float, most_bytes: int, errors: list[int]) -> tuple[int, bytes]:
    until = time.monotonic() + seconds
    opener = urllib.request.build_opener(*([] if request.data is None else [_SameServer]))
    try:
        with opener.open(request, timeout=seconds) as answer:
            return int(answer.status), _body(answer, until, most_bytes)
    except urllib.error.HTTPError as error:
        errors.append(error.code)
        with error:
            try:
                return error.code, _body(error, until, most_bytes)
            except (OSError, http.client.HTTPException, ValueError):
                return error.code, b""


def _body(answer: http.client.HTTPResponse | urllib.error.HTTPError, until: float, most_bytes: int) -> bytes:
    """Return the first bytes of an answer.

    Raises:
        TimeoutError: It has not ended at `until`, by the monotonic clock.
        HTTPException: It is cut.
    """
    body = b""
    while len(body) < most_bytes and (chunk := answer.read1(most_bytes - len(body))):
        body += chunk
        if time.monotonic() > until:
            raise TimeoutError("timed out")
    length = getattr(answer, "length", None)
    if len(body) < most_bytes and length:
        raise http.client.IncompleteRead(body, length)
    return body
