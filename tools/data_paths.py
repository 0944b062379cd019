"""Pictures of the data path, one for each stage of the lab, in docs/pictures/.

`python -m tools.data_paths` writes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
WIDTH, HEIGHT = 860, 250
BACKENDS = {"v1": "reviews v1 (baseline)", "v3": "reviews v3 (canary)", "v2": "reviews v2 (premium)"}
ROWS = {"v1": 30, "v3": 110, "v2": 190}
BOX = 50  # height of a backend
STYLE = """text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #1b1f24; }
.small { font-size: 11px; fill: #59636e; } .box { fill: #ffffff; stroke: #59636e; } .idle { fill: #f6f8fa; }
.idle { stroke: #d1d9e0; } .mesh { fill: #ddf4ff; stroke: #0072b2; } .act { fill: #fff1e5; stroke: #d55e00; }
.path { stroke: #0072b2; stroke-width: 2; fill: none; marker-end: url(#head); } .back { fill: #ffffff; }
.other { stroke: #d55e00; stroke-width: 2; fill: none; marker-end: url(#head); }"""


@dataclass(frozen=True)
class Path_:
    """The data path of one stage.

    Attributes:
        inside: What acts inside the waypoint, in the order of the request; empty for a path without a waypoint.
        to: Label of the edge to each backend that gets requests.
        answer: Answer that the waypoint gives itself; empty for none.
        first: Label of the edge from the client.
        second: Label of a second waypoint, and the edge to it; empty for none.
        upstream: True where a failing workload stands before the baseline.
    """

    inside: Sequence[str] = ("router",)
    to: Mapping[str, str] = field(default_factory=lambda: {"v1": ""})
    answer: str = ""
    first: str = "HBONE, mutual TLS"
    second: str = ""
    upstream: bool = False


ALL = {"v1": "⅓", "v3": "⅓", "v2": "⅓"}
PATHS: dict[str, Path_] = {
    "waypoint": Path_(to=ALL),
    "access-log": Path_(("router", "access log"), ALL),
    "l7-policy": Path_(("GET only", "router"), ALL, answer="403 for DELETE"),
    "canary": Path_(("router: 80 / 20",), {"v1": "80 %", "v3": "20 %"}),
    "promoted": Path_(("router: 0 / 100",), {"v3": "100 %"}),
    "premium": Path_(("router: end-user?",), {"v1": "all others", "v2": "premium-user"}),
    "delay": Path_(("fault: 2 s", "router"), ALL),
    "abort": Path_(("fault: 50 %", "router"), ALL, answer="503 for 50 %"),
    "retries": Path_(("router: 3 retries",), {"v1": "tries 1 to 4"}, upstream=True),
    "migration": Path_(("router",), ALL, first="80 % of new connections", second="20 %"),
    "cleanup": Path_((), ALL, first="plain TCP"),
}


def _text(x: float, y: float, text: str, css: str = "", anchor: str = "middle") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{css}">{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, css: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" class="{css}"/>'


def _edge(x: float, y: float, to_x: float, to_y: float, label: str, css: str = "path") -> str:
    middle = (x + to_x) / 2
    line = f'<path d="M{x:g},{y:g} C{middle:g},{y:g} {middle:g},{to_y:g} {to_x:g},{to_y:g}" class="{css}"/>'
    return line + (_text(middle, (y + to_y) / 2 - 6, label, "small") if label else "")


def _waypoint(path: Path_) -> list[str]:
    parts = [_box(350, 85 if not path.second else 55, 190, 80, "mesh")]
    top = 85 if not path.second else 55
    parts.append(_text(445, top + 18, "waypoint (Envoy)"))
    width = 170 / len(path.inside)
    for number, text in enumerate(path.inside):
        x = 360 + number * width
        parts += [_box(x + 2, top + 32, width - 4, 34, "act"), _text(x + width / 2, top + 54, text, "small")]
    if path.second:
        parts += [_box(350, 165, 190, 50, "mesh"), _text(445, 195, "waypoint-next (Envoy)")]
        parts.append(_edge(280, 140, 350, 190, path.second, "other"))
        parts += [_edge(540, 190, 650, row + BOX / 2 + 8, "", "other") for row in ROWS.values()]
    if path.answer:
        parts.append('<path d="M445,165 C445,225 200,235 150,152" class="other"/>')
        parts.append(_text(320, 232, path.answer, "small"))
    return parts


def picture(stage: str) -> str:
    """Return the picture of a stage as SVG."""
    path = PATHS[stage]
    parts = [_box(10, 100, 110, 50, "box"), _text(65, 122, "productpage"), _text(65, 138, "client's Pod", "small")]
    parts += [_box(170, 100, 110, 50, "box"), _text(225, 122, "node proxy"), _text(225, 138, "as ztunnel", "small")]
    parts.append(_edge(120, 125, 170, 125, ""))
    source = (540, 125 if not path.second else 95) if path.inside else (280, 125)
    if path.inside:
        parts += _waypoint(path)
        parts.append(_edge(280, 125, 350, source[1], ""))
        parts.append(_text(315, 78 if not path.second else 48, path.first, "small"))
    else:
        parts.append(_text(450, 20, path.first, "small"))
    for name, text in BACKENDS.items():
        used = name in path.to
        parts += [_box(650, ROWS[name], 200, BOX, "box" if used else "idle"), _text(750, ROWS[name] + 30, text)]
        if used and not (path.upstream and name == "v1"):
            parts.append(_edge(*source, 650, ROWS[name] + BOX / 2, path.to[name]))
    if path.upstream:
        parts += [_box(556, 60, 86, 44, "act"), _text(599, 78, "failing", "small")]
        parts += [_text(599, 94, "503 for 50 %", "small"), _text(599, 140, path.to["v1"], "small")]
        parts += [_edge(540, 125, 599, 104, "", "other"), _edge(599, 60, 650, ROWS["v1"] + BOX / 2, "")]
    head = '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img"><title>Data path of the stage {escape(stage)}</title><style>{STYLE}</style>'
        f'<defs>{head}<path d="M0,0 L8,4 L0,8 z" fill="#59636e"/></marker></defs>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" class="back"/>{"".join(parts)}</svg>\n'
    )


def file(stage: str) -> Path:
    """Return the file of the picture of a stage."""
    return FOLDER / f"path-{stage}.svg"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in PATHS:
        file(name).write_text(picture(name))
