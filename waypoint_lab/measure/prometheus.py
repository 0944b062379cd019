"""Ask a Prometheus for single numbers."""

import http.client
import json
import math
import urllib.error
import urllib.parse
import urllib.request

from waypoint_lab.errors import LabError

ANSWER_SECONDS = 5.0
MOST_BYTES = 1 << 20


class PrometheusError(LabError):
    """Report a Prometheus that did not answer, or not with one number; another try does not help."""


class NoDataError(PrometheusError):
    """Report a query that has no number yet."""


def number(url: str, query: str, seconds: float = ANSWER_SECONDS) -> float:
    """Return the one finite number that an instant query gives.

    Args:
        url: Base address of the server.
        query: The query.
        seconds: Limit of the answer.

    Raises:
        NoDataError: The query has no number yet.
        PrometheusError: There is no answer, or another one.

    Source: https://prometheus.io/docs/prometheus/latest/querying/api/ (instant queries)
    """
    address = f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(address, timeout=seconds) as answer:
            text = answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise PrometheusError(f"Prometheus at {url} answers {error.code} to {query!r}{_error_of(error)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "reason", None) or error or type(error).__name__
        raise PrometheusError(f"Prometheus at {url} does not answer: {why}") from None
    if len(text) > MOST_BYTES:
        raise PrometheusError(f"Prometheus at {url} answers {query!r} with more than {MOST_BYTES} bytes")
    try:
        document = json.loads(text)
        kind, result = document["data"]["resultType"], document["data"]["result"]
        values = [result] if kind == "scalar" else [row["value"] for row in result]
        numbers = [float(value[1]) for value in values]
    except (ValueError, KeyError, TypeError, IndexError):
        raise PrometheusError(f"{url} does not answer {query!r} as a Prometheus does") from None
    if not numbers:
        raise NoDataError(f"Prometheus at {url} has no data for {query!r}")
    if len(numbers) > 1:
        raise PrometheusError(f"{query!r} gives {len(numbers)} numbers: it must give one, as sum() does")
    if not math.isfinite(numbers[0]):
        raise NoDataError(f"Prometheus at {url} has {numbers[0]} for {query!r}, which is not a number")
    return numbers[0]


def _error_of(answer: urllib.error.HTTPError) -> str:
    """Return the reason that the body of an answer has; empty where it has none, or cannot be read."""
    try:
        with answer:
            return f": {str(json.loads(answer.read(MOST_BYTES))['error']).splitlines()[0]}"
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, IndexError):
        return ""
