"""The state of a promotion or a migration as a file of metrics, in the text format of Prometheus."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from waypoint_lab.config.stack_file import write
from waypoint_lab.errors import RolloutError
from waypoint_lab.rollout.journal import Journal, Record
from waypoint_lab.rollout.migration_steps import KIND, MigrationStep
from waypoint_lab.rollout.notify import document
from waypoint_lab.rollout.state import Phase, current_state

_HELP = {
    "steps": "Steps of the promotion.",
    "steps_passed": "Steps that were measured healthy.",
    "weight_percent": "Weight of the canary that is declared, in percent.",
    "phase": "Phase: 1 for the present one, 0 for the others.",
    "requests_total": "Requests of the analyses of all steps that were decided, by source of the evidence and backend.",
    "failures_total": "Failed requests of these, by backend.",
}
Sample = tuple[str, Mapping[str, str], float]  # name, labels and value


def promotion(records: Sequence[Record]) -> Iterator[Sample]:
    """Yield the samples of the newest promotion; none where there was none."""
    state = current_state(records)
    if state is None:
        return
    yield "steps", {}, len(state.steps)
    yield "steps_passed", {}, state.passed
    yield "weight_percent", {}, state.current.weight
    yield from _phases(state.phase)
    counts: dict[str, Counter[tuple[str, str]]] = {"requests": Counter(), "failed": Counter()}
    for record in records:
        if record["promotion"] != state.promotion or record["kind"] != "decision":
            continue
        for source, evidence in record.get("evidence", {}).items():
            for kind, found in counts.items():
                for backend, count in evidence[kind].items():
                    found[source, backend] += count
    for name, found in (("requests_total", counts["requests"]), ("failures_total", counts["failed"])):
        for (source, backend), count in sorted(found.items()):
            yield name, {"source": source, "backend": backend}, count


def migration(records: Sequence[Record]) -> Iterator[Sample]:
    """Yield the samples of the newest migration; none where there was none."""
    last = next((record for record in reversed(records) if record["kind"] == KIND), None)
    if last is None:
        return
    step = MigrationStep(**last["step"])
    passed = [one for one in records if one["promotion"] == last["promotion"] and one.get("decision") == "promote"]
    yield "steps_passed", {}, len(passed)
    yield "weight_percent", {"waypoint": step.canary or step.name}, step.weight if step.canary else 100
    yield from _phases(Phase((document(last, "", "") or {})["phase"]))


def _phases(present: Phase) -> Iterator[Sample]:
    yield from (("phase", {"phase": str(phase)}, phase is present) for phase in Phase)


def text(prefix: str, stack: str, samples: Iterable[Sample]) -> str:
    """Return samples as Prometheus reads them.

    Args:
        prefix: Start of each name.
        stack: Value of the label `stack`.
        samples: The samples, those of one name together.

    Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
    """
    lines: list[str] = []
    last = ""
    for name, labels, value in samples:
        full = f"{prefix}_{name}"
        if name != last:
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {full} {_HELP[name]}", f"# TYPE {full} {kind}"]
            last = name
        pairs = ",".join(f'{key}="{_escaped(label)}"' for key, label in {"stack": stack, **labels}.items())
        lines.append(f"{full}{{{pairs}}} {float(value):.10g}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class MetricsFile:
    """Writes the samples after each journal record."""

    def __init__(
        self,
        file: Path,
        journal: Journal,
        samples: Callable[[Sequence[Record]], Iterator[Sample]],
        stack: str,
        report: Callable[[str], None],
    ) -> None:
        """Write the file for the first time.

        Args:
            file: The file; it is replaced whole.
            journal: Journal of the stack.
            samples: `promotion` or `migration`.
            stack: Name of the stack.
            report: Shows one line.

        Raises:
            RolloutError: The file cannot be written.
        """
        self._file, self._journal, self._samples, self._stack = file, journal, samples, stack
        self._report, self._failed = report, False
        try:
            file.touch()  # with the mode that the umask allows, which each replacement keeps
            self._write()
        except OSError as error:
            raise RolloutError(f"--metrics {file}: {error.strerror}; name a file in a folder that exists") from None

    def __call__(self, _record: Record) -> None:
        """Replace the file. A failure is shown once, and stops nothing."""
        try:
            self._write()
        except OSError as error:
            if not self._failed:
                self._report(f"--metrics {self._file}: {error.strerror}; the promotion continues without")
            self._failed = True

    def _write(self) -> None:
        samples = self._samples(self._journal.records())
        write(self._file, text(f"waypoint_lab_{self._samples.__name__}", self._stack, samples))
