"""The lab as a Pulumi program: reads the stack's config, builds the stages that are on."""

import pulumi

from lab.config import ConfigError, LabConfig
from lab.preflight import Preflight

try:
    config = LabConfig.from_stack(pulumi.runtime.config.CONFIG.get())
    asked = Preflight(config)  # answers while the Kubernetes SDK is being imported
    from stack import build

    asked.result()
except ConfigError as error:
    raise pulumi.RunError(str(error)) from None

build(config)
pulumi.export("stages", sorted(config.stages))
