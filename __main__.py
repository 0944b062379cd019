"""The lab as a Pulumi program: reads the stack's config, builds the stages that are on."""

import pulumi

from lab.config import ConfigError, LabConfig
from lab.faults import Reading
from lab.preflight import Preflight

try:
    config = LabConfig.from_stack(pulumi.runtime.config.CONFIG.get())
    asked, read = Preflight(config), Reading(config)  # both answer while the Kubernetes SDK is being imported
    from stack import build

    asked.result()
    record = read.result()
except ConfigError as error:
    raise pulumi.RunError(str(error)) from None

build(config, record)
pulumi.export("stages", sorted(config.stages))
