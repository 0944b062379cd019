"""Observers of a promotion or a migration: the webhook of the stack's config, and the file of `--metrics`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.rollout import metrics
from waypoint_lab.rollout.journal import Journal, Record
from waypoint_lab.rollout.notify import Webhook

metrics_option = click.option(
    "--metrics",
    "metrics_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the state in a file, as metrics of Prometheus.",
)


@contextmanager
def observed(
    journal: Journal,
    stack: PulumiStack,
    report: Callable[[str], None],
    samples: Callable[[Sequence[Record]], Iterator[metrics.Sample]] = metrics.promotion,
    metrics_file: Path | None = None,
) -> Iterator[None]:
    """Notify the webhook of each decision inside the context, and keep the file of metrics.

    Args:
        journal: Journal of the stack.
        stack: The stack.
        report: Shows one line.
        samples: Samples of the file.
        metrics_file: The file; None means none.

    Raises:
        ConfigError: The address of the webhook is not valid.
        PulumiError: It is secret, and Pulumi cannot read it.
        RolloutError: The file cannot be written.
    """
    if metrics_file:
        journal.observers.append(metrics.MetricsFile(metrics_file, journal, samples, stack.name, report))
    config = stack.config()
    url = config.notify.webhook
    if not url:
        yield
        return
    webhook = Webhook(url, stack.name, f"{config.app.namespace}/{config.app.service}", report)
    journal.observers.append(webhook)
    try:
        yield
    finally:
        webhook.close()
