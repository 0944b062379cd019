"""What a run of the pack has read of the outside, so that no rule reads it again."""

import os
from collections.abc import Mapping
from dataclasses import replace

from . import live
from .objects import Objects, World

UNKNOWN = "the kubeconfig of its provider is known only when the stack is applied"


class Reading:
    """Reads every cluster once, and once more after an update, when it has changed."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Nothing is read before the first Kubernetes object comes. `environment` is what the engine gives a pack."""
        self.stack = environment.get("PULUMI_STACK", "")
        self._environment = environment
        self._preview = environment.get("PULUMI_DRY_RUN") == "true"
        self._before: dict[live.Target, live.Cluster] = {}
        self._after: dict[live.Target, live.Cluster] = self._before if self._preview else {}
        self._recorded: live.Recorded | None = None

    def begin(self, target: live.Target | None) -> None:
        """Starts reading in the background; None is a cluster that is not known yet."""
        if target is not None and target not in self._before:
            self._before[target] = live.Cluster(target)
        if self._preview and self._recorded is None:
            self._recorded = live.Recorded(self._environment)

    def before(self, objects: Objects, target: live.Target | None) -> World:
        """`objects` beside the cluster as it is before anything is applied."""
        self.begin(target)
        return self._beside(objects, self._before.get(target) if target else None)

    def whole(self, objects: Objects, target: live.Target | None) -> World:
        """All objects of the stack beside what the cluster has without it."""
        self.begin(target)
        if target is not None and target not in self._after:
            self._after[target] = live.Cluster(target)
        world = self._beside(objects, self._after.get(target) if target else None)
        # After an update the cluster has lost what the stack dropped; in a preview it still has it.
        if self._recorded is None or world.problem:
            return world
        try:
            return replace(world, live=live.without(world.live, self._recorded.objects()))
        except live.Cannot as why:
            return replace(world, live=(), problem=str(why))

    def _beside(self, objects: Objects, cluster: live.Cluster | None) -> World:
        if cluster is None:
            return World(objects, problem=UNKNOWN, stack=self.stack)
        try:
            return World(objects, cluster.objects(), stack=self.stack)
        except live.Cannot as why:
            return World(objects, problem=str(why), stack=self.stack)


def analysed(world: World) -> World:
    """`world` with what Istio's analysers say of all its objects. Raises live.Cannot."""
    kinds = sorted({item.base for item in (*world.objects, *world.live)})
    return replace(world, messages=live.analysis([item for item in world.all(*kinds) if not item.patch]))
