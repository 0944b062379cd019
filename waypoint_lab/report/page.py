"""Write a report as one HTML page that refers to no other file and to no address."""

import time
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from waypoint_lab.report import charts
from waypoint_lab.report.model import Report

FOLDER = Path(__file__).parent


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def _yaml(value: object) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)
    return text.rstrip("\n")


def html(report: Report) -> str:
    """Return the page. Every text of the report is escaped."""
    environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    environment.globals.update(
        bar=charts.bar,
        distribution=charts.distribution,
        timeline=charts.timeline,
        moments=charts.moments,
        yaml=_yaml,
        style=Markup((FOLDER / "style.css").read_text()),  # noqa: S704 - a file of this package
    )
    return environment.get_template("page.html.j2").render(
        report=report, began=_moment(report.began), ended=_moment(report.ended)
    )
