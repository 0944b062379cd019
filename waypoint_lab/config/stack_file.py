"""Edit a stack's config file."""

import copy
import io
import os
import tempfile
from pathlib import Path
from types import MappingProxyType

from waypoint_lab.config.paths import Settings, put
from waypoint_lab.config.settings import parsed
from waypoint_lab.config.stack_yaml import named
from waypoint_lab.errors import ConfigError


def edited(text: str, settings: Settings, defaults: Settings = MappingProxyType({})) -> str:
    """Return a stack's file with these settings of the lab, by path; comments and all other lines are kept.

    An object that is JSON text becomes a map. An object that the project declares is copied, because Pulumi uses the
    project's object only where the stack has none.

    Args:
        text: Text of the file.
        settings: Values by path; None removes one.
        defaults: The project's values, by path with the project's name.

    Raises:
        ConfigError: An object is one secret.
    """
    from ruamel.yaml import YAML  # its import would delay each update of a stack with a gate

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    yaml.indent(mapping=2, sequence=4, offset=2)  # as Pulumi writes it
    document = yaml.load(text) or {}
    config = document["config"] = document.get("config") or {}
    keys = {named(key): str(key) for key in config}  # a key may leave out its project
    parts = [(path.partition("."), value) for path, value in settings.items()]
    own = {f"{keys.get(named(first), named(first))}{dot}{rest}": value for (first, dot, rest), value in parts}
    names = dict.fromkeys(path.partition(".")[0] for path in own if "." in path)
    copied = [name for name in names if name not in config and name in defaults]
    for name in names:
        if isinstance(found := parsed(defaults[name] if name in copied else config.get(name)), dict):
            if set(found) == {"secure"}:
                raise ConfigError(f"{name}: it is one secret, in which no setting can be changed; set them one by one")
            config[name] = copy.deepcopy(found) if name in copied else found
    put(config, own)
    for name in copied:
        if config.get(name) == parsed(defaults[name]):
            del config[name]
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def write(file: Path, text: str) -> None:
    """Replace a file atomically, and keep its mode; a symbolic link is kept, too."""
    file = file.resolve()
    content = text.encode()
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as new:
        try:
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
            if file.exists():
                os.chmod(new.name, file.stat().st_mode & 0o7777)
            os.replace(new.name, file)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise
