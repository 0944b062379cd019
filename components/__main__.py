"""Host of the components: the engine starts this folder as a plugin, with its own address as the argument."""

import importlib.util
import sys
from pathlib import Path


def _load() -> None:
    """Load this folder as the package `components`: a plugin's folder may have any name."""
    here = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "components", here / "__init__.py", submodule_search_locations=[str(here)]
    )
    assert spec
    assert spec.loader
    sys.modules["components"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["components"])


if __name__ == "__main__":
    _load()
    from pulumi.provider import main

    from components.package import Package

    main(Package(), sys.argv[1:])
