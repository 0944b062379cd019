"""Ask a Prometheus for single numbers."""

import json
import math
import time
import urllib.parse
from collections.abc import Mapping

from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.traffic_models import PrometheusSettings
from waypoint_lab.errors import LabError
from waypoint_lab.measure.http_answer import NoAnswerError, ask, place

ANSWER_SECONDS = 5.0
MOST_BYTES = 1 << 20


class PrometheusError(LabError):
    """Report a Prometheus that did not answer, or not with one number; another try does not help."""


class NoDataError(PrometheusError):
    """Report a query that has no number yet."""


def number(url: str, query: str, seconds: float = ANSWER_SECONDS) -> float:
    """Return the one finite number that an instant query gives, in 12 digits.

    Args:
        url: Base address of the server.
        query: The query.
        seconds: Limit of the answer.

    Raises:
        NoDataError: The query has no number yet.
        PrometheusError: There is no answer, or another one.

    Source: https://prometheus.io/docs/prometheus/latest/querying/api/ (instant queries)
    """
    where = f"Prometheus at {place(url)}"
    try:
        status, text = ask(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", seconds, MOST_BYTES + 1)
    except NoAnswerError as error:
        raise PrometheusError(f"{where} does not answer: {error}") from None
    if status >= 300:
        raise PrometheusError(f"{where} answers {status} to {query!r}{_error_of(text)}")
    if len(text) > MOST_BYTES:
        raise PrometheusError(f"{where} answers {query!r} with more than {MOST_BYTES} bytes")
    try:
        document = json.loads(text)
        kind, result = document["data"]["resultType"], document["data"]["result"]
        values = [result] if kind == "scalar" else [row["value"] for row in result]
        numbers = [float(value[1]) for value in values]
    except (ValueError, KeyError, TypeError, IndexError):
        raise PrometheusError(f"{place(url)} does not answer {query!r} as a Prometheus does") from None
    if not numbers:
        raise NoDataError(f"{where} has no data for {query!r}")
    if len(numbers) > 1:
        raise PrometheusError(f"{query!r} gives {len(numbers)} numbers: it must give one, as sum() does")
    if not math.isfinite(numbers[0]):
        raise NoDataError(f"{where} has {numbers[0]} for {query!r}, which is not a number")
    return float(f"{numbers[0]:.12g}")  # 100 * a / a is 100.00000000000001 for some a


def wait_for_window(config: LabConfig, source: PrometheusSettings, record: Mapping[str, object], since: float) -> None:
    """Wait until the queries look back on no other weight. Do not wait where the weight has not changed.

    Args:
        config: The stack's config.
        source: The Prometheus.
        record: The record of the pass that is measured.
        since: Time of the weight, by `time.monotonic`.

    Raises:
        KubectlError: The record of the last pass cannot be read.
    """
    if not config.canary.weight and not config.canary_cohort:
        return
    name, path = f"{config.app.service}-gate", "jsonpath={.metadata.annotations['waypoint-lab/passed']}"
    options = "--namespace", config.app.namespace, "--ignore-not-found", "--output", path
    last = json.loads(kubectl.run(config.target, "get", "configmap", name, *options) or "{}")
    if any(last.get(key) != record.get(key) for key in ("weight", "cohort")):
        time.sleep(max(0.0, since + source.window_seconds - time.monotonic()))


def _error_of(body: bytes) -> str:
    """Return the reason that the body of an answer has; empty where it has none."""
    try:
        return f": {str(json.loads(body)['error']).splitlines()[0]}"
    except (ValueError, KeyError, TypeError, IndexError):
        return ""
