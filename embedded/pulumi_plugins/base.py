"""What the offline providers have in common: who they are, what they log, how they are cancelled, what they refuse."""

import threading
from typing import Any

import grpc
from google.protobuf import empty_pb2

from embedded.pulumi_plugins.protocol import engine_pb2, engine_pb2_grpc, plugin_pb2, provider_pb2, provider_pb2_grpc


class Base(provider_pb2_grpc.ResourceProviderServicer):
    """The part of the engine's provider service that knows of no resource."""

    name = ""
    version = ""
    official = ""  # says which plugin does what this one does not

    def __init__(self, engine: str) -> None:
        """`engine` is where to log."""
        self._cancelled = threading.Event()
        self._engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(engine)) if engine else None

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, accept_resources=False)

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: D102
        return plugin_pb2.PluginInfo(version=self.version)

    def GetSchema(self, request: Any, context: Any) -> Any:  # noqa: D102
        return provider_pb2.GetSchemaResponse(schema=f'{{"name":"{self.name}","version":"{self.version}"}}')

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: D102
        self._cancelled.set()
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: D102
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.tok}: {self.official}")

    def Construct(self, request: Any, context: Any) -> Any:  # noqa: D102
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.type}: {self.official}")

    def Call(self, request: Any, context: Any) -> Any:  # noqa: D102
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.tok}: {self.official}")

    def _log(self, urn: str, text: str) -> None:
        """A line beside the resource, for as long as it is worked on."""
        if self._engine:
            line = engine_pb2.LogRequest(severity=engine_pb2.INFO, message=text, urn=urn, ephemeral=True)
            self._engine.Log(line, timeout=5)
