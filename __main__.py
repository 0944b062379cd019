"""Pulumi program of the lab: read the stack's configuration, and build the stages that are on."""

import os
from functools import partial

import pulumi

from waypoint_lab import masking
from waypoint_lab.config.settings import SKIP_GATE, LabConfig
from waypoint_lab.program import declared
from waypoint_lab.program.preflight import Preflight
from waypoint_lab.stages.fault_expiry import RecordReader


def missing(config: LabConfig) -> list[str]:
    """Return one line for each thing that an existing cluster lacks; none for a rollback, which no check refuses."""
    if os.environ.get(SKIP_GATE):
        return []
    from waypoint_lab.cli import cluster_queries  # only stacks on such a cluster pay for this import

    return cluster_queries.missing(config)


gate = None
with declared.one_line_errors():
    config = declared.load()
    secrets = declared.secrets(config)
    masking.remember(secrets)
    # Both answer while the Kubernetes SDK is imported.
    preflight, reader = Preflight(config, missing), RecordReader(config)
    from waypoint_lab.program.build import GateCheck, build

    if config.canary.gate and config.stages.canary:
        from waypoint_lab.measure import gate as measured  # only stacks with a gate pay for this import

        check = partial(declared.one_line_errors()(measured.check), config) if measured.wanted() else None
        gate = GateCheck(measured.record(config), check)
    application = preflight.result()
    expired = reader.result()

if secrets:
    pulumi.runtime.register_stack_transformation(declared.hiding(secrets))
build(config, expired, gate, application)
for name, value in declared.outputs(config, secrets).items():
    pulumi.export(name, value)
