"""What a run of the pack has read of the outside, so that no rule reads it again."""

from dataclasses import replace

from . import live
from .objects import Objects, World

UNKNOWN = "the kubeconfig of its provider is known only when the stack is applied"


class Reading:
    """Reads every cluster and the stack's last state once, both as they are before anything is applied."""

    def __init__(self) -> None:
        """Nothing is read before the first Kubernetes object comes."""
        self._clusters: dict[live.Target, live.Cluster] = {}
        self._recorded: live.Recorded | None = None

    def begin(self, stack: str, target: live.Target | None) -> None:
        """Starts reading in the background; None is a cluster that is not known yet."""
        if target is not None and target not in self._clusters:
            self._clusters[target] = live.Cluster(target)
        if self._recorded is None:
            self._recorded = live.Recorded(stack)

    def before(self, objects: Objects, stack: str, target: live.Target | None) -> World:
        """`objects` beside the cluster as it is."""
        self.begin(stack, target)
        if target is None:
            return World(objects, problem=UNKNOWN, stack=stack)
        try:
            return World(objects, self._clusters[target].objects(), stack=stack)
        except live.Cannot as why:
            return World(objects, problem=str(why), stack=stack)

    def whole(self, objects: Objects, stack: str, target: live.Target | None) -> World:
        """All objects of the stack beside what the cluster has without it: what the stack drops is no longer there."""
        world = self.before(objects, stack, target)
        if world.problem or self._recorded is None:
            return world
        try:
            return replace(world, live=live.without(world.live, self._recorded.objects()))
        except live.Cannot as why:
            return replace(world, live=(), problem=str(why))


def analysed(world: World) -> World:
    """`world` with what Istio's analysers say of all its objects. Raises live.Cannot."""
    kinds = sorted({item.base for item in (*world.objects, *world.live)})
    return replace(world, messages=live.analysis([item for item in world.all(*kinds) if not item.patch]))
