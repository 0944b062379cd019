"""Post JSON documents to a web server of the user, whose address may be a secret."""

import json

from waypoint_lab.errors import LabError
from waypoint_lab.measure.http_answer import NoAnswerError, ask
from waypoint_lab.measure.http_answer import place as place

ANSWER_SECONDS = 5.0
MOST_BYTES = 1 << 16


class WebError(LabError):
    """Report a server that did not answer. The message has the server's name, and not the rest of its address."""


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
    try:
        status, text = ask(url, seconds, MOST_BYTES, json.dumps(document).encode())
    except NoAnswerError as error:
        raise WebError(f"{place(url)} does not answer: {error}") from None
    return status, text.decode(errors="replace")
