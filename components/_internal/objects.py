"""Kubernetes objects of any kind, and checks of arguments."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes import _utilities

_SHOWN = 200


class KubernetesObject(pulumi.CustomResource):
    """Kubernetes object of any kind, with its status as an output.

    Importing the classes of one API group of pulumi-kubernetes takes a quarter of a second, a fifth of a whole update.
    The type token is the one that pulumi-kubernetes gives the kind, so the state is the same as with its classes.
    """

    metadata: pulumi.Output[Any]
    """Metadata of the live object."""
    status: pulumi.Output[Any]
    """Status of the live object."""

    def __init__(
        self, name: str, document: dict[str, Any], opts: pulumi.ResourceOptions | None = None, *, patch: bool = False
    ) -> None:
        """Register an object.

        Args:
            name: Pulumi name.
            document: Object as in a YAML file; values may be outputs.
            opts: Options of the resource.
            patch: The object exists already, and the stack owns only the fields in `document`.
        """
        api, kind = document["apiVersion"], document["kind"] + ("Patch" if patch else "")
        token = f"kubernetes:{api if '/' in api else f'core/{api}'}:{kind}"
        # An input of None is left out of the request, but makes the output of that name readable.
        properties = {"metadata": None, "status": None, **document}
        version: str = _utilities.get_version()  # type: ignore[no-untyped-call]
        defaults = pulumi.ResourceOptions(version=version)
        super().__init__(token, name, properties, pulumi.ResourceOptions.merge(opts, defaults))


def wait_for(*conditions: str) -> dict[str, str]:
    """Return the annotation that makes the provider wait until all `conditions` are met.

    Source: https://www.pulumi.com/registry/packages/kubernetes/ (await behaviour, `pulumi.com/waitFor`).
    """
    return {"pulumi.com/waitFor": conditions[0] if len(conditions) == 1 else json.dumps(conditions)}


def timeouts(limit: float) -> pulumi.CustomTimeouts:
    """Return the limit, in seconds, of the provider's own waits, which are ten minutes otherwise."""
    return pulumi.CustomTimeouts(create=f"{limit:g}s", update=f"{limit:g}s")


# The provider's own wait for a Service takes ten seconds or more, and checks endpoints once; routes check them as well.
# A `waitFor` that is true at once is no substitute: several Services of one namespace then get each other's state.
SKIP_AWAIT = {"pulumi.com/skipAwait": "true"}


def refuse(component: str, field: str, value: object, want: str) -> pulumi.RunError:
    """Return the error for a bad argument: one line, which Pulumi prints without a traceback."""
    field = shown(field)
    if isinstance(value, pulumi.Output):
        want = "known when the program runs: give the value itself, and depends_on for the order"
        return pulumi.RunError(f"{component}: {field} is an output: it must be {want}")
    return pulumi.RunError(f"{component}: {field} is {_json(value)}: it must be {want}")


def _json(value: object) -> str:
    """Return a value as the error shows it: JSON, cut after 200 characters."""
    try:
        text = json.dumps(value, default=str)
    except (TypeError, ValueError):  # keys that are no text, or a number of thousands of digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def shown(field: str) -> str:
    """Return the path of a field in one line: names in it are given by the user."""
    return field if field.isprintable() else json.dumps(field)


# `arguments.read` has checked the types of values before they get to `number`, `whole`, `filled` and `names`.
def number(component: str, field: str, value: float, low: float, high: float) -> float:
    """Return `value` if it is from `low` to `high`. Raise RunError."""
    if not low <= value <= high:
        raise refuse(component, field, value, f"a number from {low:.10g} to {high:.10g}")
    return value


def limit_seconds(component: str, args: Mapping[str, Any], default: float) -> float:
    """Return the limit of each wait in a component's arguments. Raise RunError."""
    given = args.get("limit_seconds")
    return number(component, "limit_seconds", default if given is None else given, 1, 3600)


def whole(component: str, field: str, value: int, low: int, high: int) -> int:
    """Return the whole number `value` if it is from `low` to `high`. Raise RunError."""
    if not low <= value <= high:
        raise refuse(component, field, value, f"a whole number from {low} to {high}")
    return value


def filled(component: str, field: str, value: pulumi.Input[str]) -> pulumi.Input[str]:
    """Return `value` if it is an output, or text that is not empty. Raise RunError."""
    if value == "":
        raise refuse(component, field, value, "text that is not empty")
    return value


def names(component: str, field: str, values: list[str]) -> list[str]:
    """Return `values` if they are at least one, none of them empty or there twice. Raise RunError."""
    for value in values:
        filled(component, field, value)
    if not values or len(set(values)) < len(values):
        raise refuse(component, field, values, "a list of different names, at least one")
    return values


def distinct(component: str, field: str, values: Sequence[object]) -> None:
    """Raise RunError where a text is in `values` twice; outputs are not compared."""
    known = [value for value in values if isinstance(value, str)]
    if len(set(known)) < len(known):
        raise refuse(component, field, known, "a list of different names")


def applied(value: pulumi.Input[str], change: Callable[[str], str]) -> pulumi.Input[str]:
    """Return `change(value)`, at once where `value` is text, else as an output."""
    if isinstance(value, str):
        return change(value)
    return pulumi.Output.from_input(value).apply(change)  # type: ignore[arg-type]


def host(service: pulumi.Input[str], namespace: pulumi.Input[str], domain: str) -> pulumi.Input[str]:
    """Return the full DNS name of a Service; text where both names are."""
    if isinstance(service, str) and isinstance(namespace, str):
        return f"{service}.{namespace}.svc.{domain}"
    return pulumi.Output.concat(service, ".", namespace, ".svc.", domain)
