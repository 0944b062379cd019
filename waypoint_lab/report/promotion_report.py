"""Report of `lab canary promote`: a section for each step, from the journal and the requests around each update."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import LabError
from waypoint_lab.kubectl import Object
from waypoint_lab.measure import changes, manifests, proxy_versions
from waypoint_lab.measure.changes import ConfigurationChange
from waypoint_lab.measure.client import Endpoint, Load
from waypoint_lab.measure.statistics import binomial_interval
from waypoint_lab.pulumi_cli import UPDATE_SECONDS, PulumiStack
from waypoint_lab.report.model import Curve, Row, Section, share_row
from waypoint_lab.rollout.journal import Record
from waypoint_lab.rollout.state import CanaryStep, Phase, PromotionState

CONFIDENCE = 0.99
AFTER_SECONDS = 0.3  # of requests after the sync; a bad canary must not wait for its analysis
WINDOW_SECONDS = 5.0  # of the access log around an update
VERDICTS = {"promote": "passed", "pause": "inconclusive", "roll back": "failed"}


class ChangeRecorder:
    """Records the requests around the update of each step, and the objects after it; a failure is only reported."""

    def __init__(self, stack: PulumiStack, report: Callable[[str], None]) -> None:
        """Record nothing yet."""
        self._stack, self._report = stack, report
        self.changes: list[ConfigurationChange] = []
        self.manifests: list[dict[str, Object]] = []
        self._configs: list[LabConfig] = []

    @contextmanager
    def around(self, step: CanaryStep, config: LabConfig) -> Iterator[Callable[[], None]]:
        """Record an update. The value is called once it is applied.

        Where the evidence has a probe, requests of our own run during the update; users' requests are read in `finish`.

        Args:
            step: The step.
            config: Its config.
        """
        load, endpoint = None, Endpoint()
        if step.cohort:
            request = config.app.request
            method, path, headers = CohortSettings.parse(step.cohort).request(request.method, request.path)
            endpoint = Endpoint("", headers, method, path)
        marks = [0.0, 0.0]  # applied, synced
        if "probe" in config.canary.evidence:
            with suppress(LabError):
                load = Load(config, UPDATE_SECONDS, endpoints=(endpoint,))
                load.wait_for_answers()
        began = time.time()
        try:
            yield lambda: marks.__setitem__(0, time.time())
            marks[1] = time.time()
            if load:
                time.sleep(AFTER_SECONDS)
        finally:
            seen = []
            if load:
                with suppress(LabError):
                    seen = changes.seen(config, load.stop())
            self.changes.append(ConfigurationChange(str(step), began, marks[0], marks[1], seen))
            self._configs.append(config)
        try:
            self.manifests.append(manifests.deployed(self._stack))
        except LabError as error:
            self.manifests.append({})
            self._report(f"the objects of {step} are not in the report: {error}")

    def finish(self) -> dict[str, str]:
        """Read the access logs where no probe ran. Return the versions of Istio and Envoy, by name."""
        if not self._configs:
            return {}
        config = self._configs[-1]
        if any(not change.seen for change in self.changes):
            try:
                logged = changes.logged(config, self.changes[0].began - WINDOW_SECONDS)
            except LabError as error:
                logged = []
                self._report(f"the access log is not in the report: {error}")
            self.changes = [change if change.seen else _within(change, logged) for change in self.changes]
        return proxy_versions.read(config.target, config.waypoint_namespace, config.waypoints)


def _within(change: ConfigurationChange, logged: Sequence[changes.Seen]) -> ConfigurationChange:
    end = max(change.began, change.synced) + WINDOW_SECONDS
    seen = [one for one in logged if change.began - WINDOW_SECONDS <= one.at <= end]
    return replace(change, seen=seen, source=changes.LOG)


def _share(weight: float, hits: int, requests: int) -> Row:
    ends = binomial_interval(hits, requests, CONFIDENCE)
    verdict = "passed" if ends.holds(weight) else "inconclusive"  # a promotion does not judge the share
    return share_row("share of the canary", hits, requests, CONFIDENCE, verdict, f"{weight:.2%}", weight)


def _rows(source: str, evidence: Mapping[str, Any], record: Record) -> Iterator[Row]:
    verdict, weight = VERDICTS[record["decision"]], record["weight"] / 100
    requests, failed = evidence.get("requests"), evidence.get("failed")
    if not isinstance(requests, dict) or not isinstance(failed, dict):
        yield Row(source, "", ", ".join(f"{key} {value}" for key, value in evidence.items()), "", 0, verdict)
        return
    share = evidence.get("share")
    if share and share["requests"] and not record.get("cohort"):
        yield _share(weight, share["canary"], share["requests"])
    total = sum(requests.values())
    if source == "traffic" and total:
        yield _share(weight, requests["canary"], total)
    for name, count in requests.items():
        margin = evidence.get("margin", 0.0)
        declared = f"at most {margin:.1%} more than the baseline" if name != "baseline" else ""
        judged = verdict if declared else ""
        yield share_row(f"failures, {name} ({source})", failed[name], count, CONFIDENCE, judged, declared)


def sections(records: Sequence[Record], recorder: ChangeRecorder) -> list[Section]:
    """Return a section for each decision of this process, in their order.

    Args:
        records: Records of the journal that this process has written.
        recorder: The recorder of its updates.
    """
    found: list[Section] = []
    applied = iter(zip(recorder.changes, [*recorder.manifests, *[{}] * len(recorder.changes)], strict=False))
    known: dict[str, Object] = {}
    began = False
    for record in records:
        began = began or record["kind"] == "apply"
        if record["kind"] != "decision":
            continue
        change, objects = next(applied, (None, {})) if began else (None, {})
        began = False
        evidence = record.get("evidence") or {}
        curves = [
            Curve(f"{name} ({source})", {key: value for key, value in values.items() if key.startswith("p")})
            for source, item in evidence.items()
            for name, values in (item.get("latency") or {}).items()
        ]
        found.append(
            Section(
                str(CanaryStep.read(record)),
                f"Decision: {record['decision']}, after {record['seconds']:.1f} s",
                VERDICTS[record["decision"]],
                [row for source, item in evidence.items() for row in _rows(source, item, record)],
                [record["why"]] if record["decision"] != "promote" else [],
                [record["why"]] if record["decision"] == "promote" else [],
                curves,
                [change] if change else [],
                manifests.changed(known, objects),
                {name: item for name, item in known.items() if objects.get(name) not in (None, item)},
            )
        )
        known = objects or known
    return found


def verdict(state: PromotionState) -> str:
    """Return the verdict on a promotion."""
    return {Phase.PROMOTED: "passed", Phase.ROLLED_BACK: "failed"}.get(state.phase, "inconclusive")
