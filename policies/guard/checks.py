"""Rules that hand on what other tools say."""

from .objects import Findings, Object, Settings, World, matches_any

LEVELS = ("Info", "Warning", "Error")
# Codes on what the pack does not show the analysers: Pods, Secrets and other references (`targets-exist` looks them
# up), injection, and the versions of CRDs.
UNSEEN_BY_US = ("IST0101", "IST0103", "IST0116", "IST0127", "IST0137", "IST0143", "IST0173", "IST0174", "IST0176")


def istio_analysis(world: World, settings: Settings) -> Findings:
    """Istio's own analysers find nothing in the stack's objects of `minimumLevel` or above.

    Codes in `suppress` do not count. Nothing is claimed where istioctl is not on PATH.
    """
    least = LEVELS.index(settings["minimumLevel"])
    own = {item.title: item for item in world.objects}
    for message in world.messages:
        code, level = str(message.get("code")), str(message.get("level"))
        item = own.get(str(message.get("origin")))
        if item and LEVELS.index(level) >= least and not matches_any(code, settings["suppress"]):
            yield item, f"{level} {code}: {message.get('message')}"


def cluster_was_read(world: World, _settings: Settings) -> Findings:
    """The cluster could be read: rules that compare with it have looked at the stack alone where it could not."""
    if world.problem:
        yield Object("Cluster", {}), world.problem
