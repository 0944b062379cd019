"""Rules that report the results of other tools."""

from ..fields import text
from ..mesh import matches_any
from ..resources import ClusterSnapshot, Parameters, Resource, Violations

LEVELS = ("Info", "Warning", "Error")
# Codes about resources that the pack does not give to the analyzers: Pods, Secrets and other references (rule
# `targets-exist` looks them up), injection, and versions of CRDs.
SUPPRESSED = ("IST0101", "IST0103", "IST0116", "IST0127", "IST0137", "IST0143", "IST0173", "IST0174", "IST0176")


def istio_analysis(snapshot: ClusterSnapshot, parameters: Parameters) -> Violations:
    """Report messages of `istioctl analyze` of `minimumLevel` or above, without the codes in `suppress`."""
    counted = LEVELS[LEVELS.index(parameters["minimumLevel"]) :]
    own = {item.title: item for item in snapshot.declared}
    for message in snapshot.messages:
        code, level = text(message, "code"), text(message, "level")
        item = own.get(text(message, "origin"))
        if item and level in counted and not matches_any(code, parameters["suppress"]):
            yield item, f"{level} {code}: {text(message, 'message')}"


def cluster_readable(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that the cluster could be read."""
    if snapshot.error:
        yield Resource("Cluster", {}), snapshot.error
