"""Pulumi program of the lab: read the stack's configuration, and build the stages that are on."""

import pulumi

from waypoint_lab.errors import ConfigError
from waypoint_lab.program import declared
from waypoint_lab.program.preflight import Preflight
from waypoint_lab.stages.fault_expiry import Reading

gate = None
try:
    config = declared.load()
    asked, read = Preflight(config), Reading(config)  # both answer while the Kubernetes SDK is imported
    from waypoint_lab.program.build import GateCheck, build

    if config.canary.gate and config.stages.canary:
        from waypoint_lab.measure import gate as measured  # only stacks with a gate pay for this import

        gate = GateCheck(measured.record(config), (lambda: measured.check(config)) if measured.wanted() else None)
    asked.result()
    record = read.result()
except ConfigError as error:
    raise pulumi.RunError(str(error)) from None

if secrets := declared.secrets(config):
    pulumi.runtime.register_stack_transformation(declared.hiding(secrets))
build(config, record, gate)
for name, value in declared.outputs(config, secrets).items():
    pulumi.export(name, value)
