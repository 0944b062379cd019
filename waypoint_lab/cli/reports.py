"""The options of a report, and its writing."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from waypoint_lab import masking
from waypoint_lab.cli import output
from waypoint_lab.cli.main import FAILURES
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.kubectl import ClusterAccess
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.report import context
from waypoint_lab.report.destination import ReportFolder
from waypoint_lab.report.model import Report, Section

report = output.reporter("report")
report_option = click.option(
    "--report",
    "report_folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write report.html and its picture report.png into this folder.",
)
picture_option = click.option(
    "--picture/--no-picture", default=True, help="Write the picture; needs Chromium on PATH [default: yes]."
)


def prepared(folder: Path | None, picture: bool) -> ReportFolder | None:
    """Return the destination of the report; None where none is wanted. Raises ReportError."""
    return ReportFolder.prepared(folder, with_picture=picture) if folder else None


@contextmanager
def attempt() -> Iterator[None]:
    """Report an error inside the context in one line: a report that cannot be written does not change the outcome."""
    try:
        yield
    except FAILURES as error:
        report(str(error))


class Recording:
    """A report in the making; it does nothing without a destination."""

    def __init__(self, destination: ReportFolder | None, stack: PulumiStack | None, state: Path) -> None:
        """Note the start, the settings of the stack, and its secrets.

        Args:
            destination: The destination; None means that no report is wanted.
            stack: The stack; None where there is none.
            state: State folder of the embedded cluster.

        Raises:
            PulumiError: Pulumi cannot read the stack's config.
        """
        self._destination, self._stack, self._state = destination, stack, state
        self._began = time.time()
        self._config = stack.config() if stack and destination else LabConfig()

    def write(
        self,
        title: str,
        verdict: str,
        summary: str,
        confidence: float,
        sections: Sequence[Section],
        proxy: Mapping[str, str],
        target: ClusterAccess | None = None,
    ) -> None:
        """Write the report, and name its files.

        Args:
            title: Its title.
            verdict: The verdict on the whole.
            summary: One sentence.
            confidence: Confidence of the intervals, 0 to 1.
            sections: The stages or steps.
            proxy: Versions of Istio and Envoy, by name.
            target: The cluster; None means that of the stack.

        Raises:
            ReportError: It cannot be written.
        """
        if not self._destination:
            return
        folder = self._stack.folder if self._stack else Path.cwd()
        name = self._stack.name if self._stack else ""
        cluster = target or self._config.target
        versions = context.versions(folder, self._state, cluster, proxy)
        config = _set(self._config) if self._stack else {}
        repeat = context.repeat(name, cluster)
        found = Report(
            title, verdict, summary, self._began, time.time(), confidence, sections, versions, repeat, config
        )
        for file in self._destination.write(masking.hidden(found)):
            report(str(file))


def _set(config: LabConfig) -> dict[str, object]:
    """Return the settings that differ from the defaults; their texts are `without_secrets`."""
    return {
        name: _shown(item)
        for name, item in _difference(msgspec.to_builtins(config), msgspec.to_builtins(LabConfig())).items()
    }


def _shown(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_shown, value)]
    return context.without_secrets(value) if isinstance(value, str) else value


def _difference(given: dict[str, object], defaults: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in given.items():
        default = defaults.get(key) if isinstance(defaults, dict) else None
        if isinstance(value, dict) and isinstance(default, dict):
            if inner := _difference(value, default):
                found[key] = inner
        elif value != default:
            found[key] = value
    return found
