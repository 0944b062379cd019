"""The lab as a Pulumi program: reads the stack's config, builds the stages that are on."""

import pulumi

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError
from waypoint_lab.program.preflight import Preflight
from waypoint_lab.stages.fault_expiry import Reading

try:
    config = LabConfig.from_stack(pulumi.runtime.config.CONFIG.get())
    asked, read = Preflight(config), Reading(config)  # both answer while the Kubernetes SDK is being imported
    from waypoint_lab.program.build import build

    asked.result()
    record = read.result()
except ConfigError as error:
    raise pulumi.RunError(str(error)) from None

build(config, record)
pulumi.export("stages", sorted(config.stages.on))
