"""Pulumi program of the lab: read the stack's configuration, and build the stages that are on."""

import os

import pulumi

from waypoint_lab import masking
from waypoint_lab.config.settings import SKIP_GATE, LabConfig
from waypoint_lab.errors import LabError
from waypoint_lab.program import declared
from waypoint_lab.program.preflight import Preflight
from waypoint_lab.stages.fault_expiry import RecordReader


def missing(config: LabConfig) -> list[str]:
    """Return one line for each thing that an existing cluster lacks; none for a rollback, which no check refuses."""
    if os.environ.get(SKIP_GATE):
        return []
    from waypoint_lab.cli import cluster_queries  # only stacks on such a cluster pay for this import

    return cluster_queries.missing(config)


gate, secrets = None, frozenset[str]()
try:
    config = declared.load()
    secrets = declared.secrets(config)
    # Both answer while the Kubernetes SDK is imported.
    preflight, reader = Preflight(config, missing), RecordReader(config)
    from waypoint_lab.program.build import GateCheck, build

    if config.canary.gate and config.stages.canary:
        from waypoint_lab.measure import gate as measured  # only stacks with a gate pay for this import

        gate = GateCheck(measured.record(config), (lambda: measured.check(config)) if measured.wanted() else None)
    application = preflight.result()
    expired = reader.result()
except LabError as error:
    raise pulumi.RunError(masking.masked(str(error), secrets)) from None

if secrets:
    pulumi.runtime.register_stack_transformation(declared.hiding(secrets))
build(config, expired, gate, application)
for name, value in declared.outputs(config, secrets).items():
    pulumi.export(name, value)
