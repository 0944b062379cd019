"""Pulumi mocks that record every registration."""

import asyncio
import atexit
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pulumi
from pulumi import resource_hooks
from pulumi.runtime import mocks, resource
from pulumi.runtime.proto import source_pb2

ROLLOUT = "4d2f"


class Recording(mocks.Mocks):
    """Answers each registration with its own inputs, and keeps them by name."""

    def __init__(self) -> None:
        self.made: dict[str, mocks.MockResourceArgs] = {}
        self.requests: dict[str, Any] = {}
        self.hooks: list[str] = []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        assert args.name not in self.made, f"{args.name} registered twice"
        self.made[args.name] = args
        outputs = dict(args.inputs)
        if args.typ == "pulumi:index:Stash":
            outputs["output"] = ROLLOUT
        if args.typ.endswith(":Gateway"):
            outputs["status"] = {"addresses": [{"value": "10.96.0.9"}]}
        return args.name, outputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"unexpected call of {args.token}")

    def inputs(self, name: str) -> dict[str, Any]:
        return dict(self.made[name].inputs)

    def kinds(self) -> dict[str, str]:
        """Name and kind of all that is no component."""
        return {name: args.typ.rsplit(":", 1)[1] for name, args in self.made.items() if args.custom}

    def needs(self, name: str) -> set[str]:
        """Names of all that must be there before `name`."""
        return {urn.rsplit("::", 1)[1] for urn in self.requests[name].dependencies}

    def aliases(self, name: str) -> list[str]:
        """The names that `name` had before."""
        return [alias.spec.name for alias in self.requests[name].aliases]


class _Monitor(mocks.MockMonitor):
    """Keeps what the SDK's own hands on to no mock: what a resource needs, its hooks and its earlier names."""

    def __init__(self, record: Recording) -> None:
        super().__init__(record)
        self._record = record

    def RegisterResource(self, request: Any) -> Any:
        if request.type != "pulumi:pulumi:Stack":
            self._record.requests[request.name] = request
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]


# One loop for all programs, as in the language host: the SDK keeps futures of the loop that it first saw.
_LOOP = asyncio.new_event_loop()
_LOOP.set_exception_handler(lambda *_: None)  # of futures that nobody reads any more, as `run` raises the error itself
atexit.register(_LOOP.close)


def run_hooks(make: Callable[[], pulumi.ResourceHook | pulumi.ResourceHookBinding], **inputs: Any) -> None:
    """Run the hook that `make` makes, or those around a write, as the engine does."""
    with patch.object(resource_hooks, "register_resource_hook", lambda hook: None):
        made = make()
    given = pulumi.ResourceHookArgs(urn="u", id="i", name="n", type="t", **inputs)

    async def run() -> None:
        kind = "update" if given.old_inputs else "create"
        bound: Any = [getattr(made, f"{when}_{kind}", None) or () for when in ("before", "after")]
        for hook in [made] if isinstance(made, pulumi.ResourceHook) else [*bound[0], *bound[1]]:
            await hook(given)

    asyncio.run(run())


def run(program: Callable[[], object]) -> Recording:
    """Runs `program` until all that it registered is there. Raises what it raises."""
    record = Recording()

    def register(hook: pulumi.ResourceHook) -> "asyncio.Future[None]":
        record.hooks.append(hook.name)
        done: asyncio.Future[None] = _LOOP.create_future()
        done.set_result(None)
        return done

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    def start() -> None:
        program()

    # The SDK's mocks know no resource hooks: without a callback server, registering one fails. They read no stack trace
    # of a resource, which takes longer to make than the resource.
    with (
        patch.object(resource_hooks, "register_resource_hook", register),
        patch.object(resource, "_get_stack_trace", source_pb2.StackTrace),
    ):
        asyncio.set_event_loop(_LOOP)
        try:
            mocks.set_mocks(record, project="waypoint-lab", stack="test", preview=False, monitor=_Monitor(record))
            start()
        finally:
            asyncio.set_event_loop(None)
    return record
