"""The engine's protocol alone: the generated stubs of the Pulumi SDK, without the SDK around them.

Importing `pulumi` takes a tenth of a second, which every update would wait for; a provider needs nothing of it.
"""

import importlib.util
import sys
import types


def _bare(name: str) -> None:
    """Puts a package in place that finds its parts but has not run its own code."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{name} is not installed; run `make`")
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules[name] = package


if "pulumi" not in sys.modules:
    _bare("pulumi")
    _bare("pulumi.runtime")

from pulumi.runtime.proto import (  # noqa: E402
    engine_pb2,
    engine_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

__all__ = ["engine_pb2", "engine_pb2_grpc", "plugin_pb2", "provider_pb2", "provider_pb2_grpc", "status_pb2"]
