"""Edit a stack's config file."""

import io
import os
import tempfile
from pathlib import Path

from waypoint_lab.config.paths import Settings, put
from waypoint_lab.config.settings import PROJECT


def edited(text: str, settings: Settings) -> str:
    """Return a stack's file with these settings of the lab, by path; comments and all other lines are kept."""
    from ruamel.yaml import YAML  # its import would delay each update of a stack with a gate

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    yaml.indent(mapping=2, sequence=4, offset=2)  # as Pulumi writes it
    document = yaml.load(text) or {}
    document["config"] = document.get("config") or {}
    put(document["config"], {f"{PROJECT}:{path}": value for path, value in settings.items()})
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def write(file: Path, text: str) -> None:
    """Replace a file atomically, and keep its mode."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False) as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    if file.exists():
        os.chmod(new.name, file.stat().st_mode & 0o7777)
    os.replace(new.name, file)
