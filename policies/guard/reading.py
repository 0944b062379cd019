"""What a run of the pack has read of the outside, so that no rule reads it again."""

from dataclasses import replace

from . import live
from .objects import Object, Objects, World

UNKNOWN = "the kubeconfig of its provider is known only when the stack is applied"


class Reading:
    """Reads every cluster and the stack's last state once, both as they are before anything is applied."""

    def __init__(self) -> None:
        """Nothing is read before the first Kubernetes object comes."""
        self._clusters: dict[live.Target, live.Cluster] = {}
        self._recorded: live.Recorded | None = None
        self._asked: dict[str, Object] = {}

    def asked(self, item: Object) -> None:
        """Remembers the labels and annotations that the program asks for, by the object's URN.

        Whoever judges the whole stack is shown outputs, and those have what others gave the object, or gave it once.
        Source: pulumi, stepGenerator.AnalyzeResources.
        """
        self._asked[item.urn] = item

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

    def alone(self, item: Object, stack: str, target: live.Target | None) -> World:
        """One object beside the cluster without what this very resource gave it; `served` is the cluster as it is."""
        world = self.before((item,), stack, target)
        if world.problem or self._recorded is None:
            return world
        try:
            former = [own for own in self._recorded.objects() if own.urn == item.urn]
        except live.Cannot:
            former = []  # what it no longer names counts as staying; `cluster-was-read` says that nobody could look
        return replace(world, live=live.given_up(world.live, former), served=world.live)

    def whole(self, objects: Objects, stack: str, target: live.Target | None) -> World:
        """All objects of the stack beside what the cluster has without it: what the stack drops is no longer there."""
        world = self.before(tuple(self._as_asked(item, ()) for item in objects), stack, target)
        if world.problem or self._recorded is None:
            return world
        try:
            former = self._recorded.objects()
        except live.Cannot as why:
            return replace(world, live=(), problem=str(why))
        own = tuple(self._as_asked(item, former) for item in objects)
        return replace(world, objects=own, live=live.without(world.live, former))

    def _as_asked(self, item: Object, former: Objects) -> Object:
        """`item` with the labels and annotations that were asked for; a whole one keeps those of others, too."""
        asked = self._asked.get(item.urn)
        if asked is None:
            return item
        kept = live.marked(item, {}, {}) if item.patch else live.given_up([item], former)[0]
        return live.marked(kept, {**kept.labels, **asked.labels}, {**kept.annotations, **asked.annotations})


def analysed(world: World) -> World:
    """`world` with what Istio's analysers say of all its objects. Raises live.Cannot."""
    kinds = sorted({item.base for item in (*world.objects, *world.live)})
    return replace(world, messages=live.analysis([item for item in world.all(*kinds) if not item.patch]))
