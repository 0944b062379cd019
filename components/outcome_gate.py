"""A gate for the effect of any change on the traffic of a namespace's waypoints, inside the update."""

from typing import NotRequired, TypedDict

import pulumi

from ._internal import arguments, http_text, objects, outcome, waits

_OBSERVATION, _GATE = "OutcomeObservation", "OutcomeGate"


class OutcomeObservationArgs(TypedDict):
    """Arguments of `OutcomeObservation`."""

    namespace: pulumi.Input[str]
    """Namespace of the waypoints. An output is possible."""
    triggers: list[pulumi.Input[str]]
    """Values whose change observes anew, such as the image or the weight that the update changes; at least one."""
    seconds: NotRequired[float]
    """Length of the observation, 5 to 3600 seconds; 30 unless given. Plain."""
    kubeconfig: NotRequired[pulumi.Input[str]]
    """Path of the kubeconfig, `~` included; the ambient one unless given. An output is possible."""
    context: NotRequired[pulumi.Input[str]]
    """Context in it; the current one unless given. An output is possible."""


class OutcomeObservation(pulumi.ComponentResource):
    """The traffic of a namespace's waypoints before a change, for an `OutcomeGate`; kept in the stack's state.

    The resources that change depend on it. It runs the command `lab outcome observe`, which must be on PATH. Raises
    RunError for bad arguments.
    """

    observation: pulumi.Output[str]
    """The observation, as JSON."""

    def __init__(self, name: str, args: OutcomeObservationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Register the command that observes."""
        args = arguments.read(_OBSERVATION, args, OutcomeObservationArgs)
        namespace = http_text.label(_OBSERVATION, "namespace", args["namespace"])
        triggers = args["triggers"]
        if not triggers:
            raise objects.refuse(_OBSERVATION, "triggers", triggers, "at least one value that the change changes")
        seconds = objects.number(_OBSERVATION, "seconds", args.get("seconds", 30), 5, 3600)
        super().__init__(f"waypoint-lab:index:{_OBSERVATION}", name, {**args}, opts)
        cluster = waits.access(args, self)
        words = ["outcome", "observe", "--namespace", namespace, "--seconds", f"{seconds:g}"]
        text, own = outcome.text(_OBSERVATION, words, cluster), pulumi.ResourceOptions(parent=self)
        command = outcome.LabCommand(f"{name}-command", _OBSERVATION, text, triggers, own)
        self.observation = command.stdout
        self.register_outputs({"observation": self.observation})


class OutcomeGateArgs(TypedDict):
    """Arguments of `OutcomeGate`."""

    observation: pulumi.Input[str]
    """Output `observation` of the `OutcomeObservation` before the change."""
    seconds: NotRequired[float]
    """Length of the observation after the change, 5 to 3600 seconds; 30 unless given. Plain."""
    expect: NotRequired[dict[str, float]]
    """Percent of the requests that the change declares for a Service, 0 to 100, by its name. Plain."""
    allow_silent: NotRequired[list[str]]
    """Services that may lose all requests. Plain."""
    share_points: NotRequired[float]
    """Percentage points by which a share may move, 0 to 100; 5 unless given. Plain."""
    failure_points: NotRequired[float]
    """Percentage points by which failures may rise, 0 to 100; 1 unless given. Plain."""
    p99_factor: NotRequired[float]
    """Factor by which the 99th percentile may rise, 1 to 100; 1.5 unless given. Plain."""
    error_rate: NotRequired[float]
    """Percent of false alarms at most, above 0 and up to 20; 1 unless given. Plain."""
    allow_inconclusive: NotRequired[bool]
    """Pass where nothing is proven to be worse, such as without traffic; false unless given."""
    kubeconfig: NotRequired[pulumi.Input[str]]
    """Path of the kubeconfig, `~` included; the ambient one unless given. An output is possible."""
    context: NotRequired[pulumi.Input[str]]
    """Context in it; the current one unless given. An output is possible."""


class OutcomeGate(pulumi.ComponentResource):
    """A comparison of the traffic after a change with an `OutcomeObservation`: the update fails where it is worse.

    It depends on the resources that change. It runs when the observation is new. A gate that failed runs again with
    every update, against the same observation, until it passes. It runs the command `lab outcome compare`, which must
    be on PATH. Raises RunError for bad arguments.
    """

    result: pulumi.Output[str]
    """The comparisons, as JSON."""

    def __init__(self, name: str, args: OutcomeGateArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Register the command that compares."""
        args = arguments.read(_GATE, args, OutcomeGateArgs)
        before = objects.filled(_GATE, "observation", args["observation"])
        words = ["outcome", "compare", "--json"]
        for field, low, high in (
            ("seconds", 5, 3600),
            ("share_points", 0, 100),
            ("failure_points", 0, 100),
            ("p99_factor", 1, 100),
            ("error_rate", 1e-6, 20),
        ):
            if field in args:
                words += [
                    f"--{field.replace('_', '-')}",
                    f"{objects.number(_GATE, field, args.get(field), low, high):g}",  # type: ignore[arg-type]
                ]
        for service, percent in args.get("expect", {}).items():
            _check("a name in expect", service)
            words += ["--expect", f"{service}={objects.number(_GATE, f'expect.{service}', percent, 0, 100):g}"]
        for service in args.get("allow_silent", []):
            _check("allow_silent", service)
            words += ["--allow-silent", service]
        if args.get("allow_inconclusive"):
            words.append("--allow-inconclusive")
        super().__init__(f"waypoint-lab:index:{_GATE}", name, {**args}, opts)
        cluster = waits.access(args, self)
        text, own = outcome.text(_GATE, words, cluster), pulumi.ResourceOptions(parent=self)
        command = outcome.LabCommand(f"{name}-command", _GATE, text, [outcome.digest(before)], own, stdin=before)
        self.result = command.stdout
        self.register_outputs({"result": self.result})


def _check(field: str, service: str) -> None:
    """Check the name of a Service, alone or with more of its host. Raise RunError."""
    for part in service.split("."):
        http_text.label(_GATE, field, part)
