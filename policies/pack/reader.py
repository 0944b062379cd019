"""Reader of the snapshots that rules check."""

from concurrent.futures import Future
from dataclasses import replace

from .queries import ClusterConnection, QueryError, analysis, cluster_query, state_query, without_marks, without_stack
from .resources import ClusterSnapshot, Resource, Resources

UNKNOWN = "the kubeconfig of its provider is known only when the stack is applied"


class SnapshotReader:
    """Reader of every cluster and of the stack's last state, once, before anything is applied."""

    def __init__(self) -> None:
        """Read nothing before the first Kubernetes resource comes."""
        self._clusters: dict[ClusterConnection, Future[Resources]] = {}
        self._pods: dict[tuple[ClusterConnection, str], Future[Resources]] = {}
        self._state: Future[Resources] | None = None
        self._requested: dict[str, Resource] = {}
        self._connections: dict[str, ClusterConnection | None] = {}

    def record(self, item: Resource) -> None:
        """Record the labels and annotations that the program requests, by the resource's URN.

        A check of the whole stack gets outputs, which include the labels of others and earlier ones.
        Source: pulumi, stepGenerator.AnalyzeResources.
        """
        self._requested[item.urn] = item

    def connect(self, provider: str, connection: ClusterConnection | None) -> None:
        """Record the connection of a provider, by its URN."""
        self._connections[provider] = connection

    def start(self, stack: str, connection: ClusterConnection | None) -> None:
        """Start reading in the background. A connection of None is not known yet."""
        if connection is not None and connection not in self._clusters:
            self._clusters[connection] = cluster_query(connection)
        if self._state is None:
            self._state = state_query(stack)

    def beside_cluster(self, resources: Resources, stack: str, connection: ClusterConnection | None) -> ClusterSnapshot:
        """Return `resources` beside the whole cluster."""
        self.start(stack, connection)
        if connection is None:
            return ClusterSnapshot(resources, error=UNKNOWN, stack=stack)
        try:
            return ClusterSnapshot(resources, self._clusters[connection].result(), stack=stack)
        except QueryError as error:
            return ClusterSnapshot(resources, error=str(error), stack=stack)

    def with_pods(
        self, snapshot: ClusterSnapshot, connection: ClusterConnection | None, namespaces: set[str]
    ) -> ClusterSnapshot:
        """Return `snapshot` with the Pods of these namespaces.

        Raises:
            QueryError: kubectl failed.
        """
        if connection is None:
            return snapshot
        live = [*snapshot.live]
        for namespace in sorted(namespaces):
            key = connection, namespace
            if key not in self._pods:
                self._pods[key] = cluster_query(connection, "pods", f"--namespace={namespace}")
            live += self._pods[key].result()
        return replace(snapshot, live=live)

    def of_resource(self, item: Resource, stack: str, connection: ClusterConnection | None) -> ClusterSnapshot:
        """Return one resource beside the cluster without the labels and annotations that it applied earlier."""
        snapshot = self.beside_cluster((item,), stack, connection)
        if snapshot.error or self._state is None:
            return snapshot
        try:
            former = [own for own in self._state.result() if own.urn == item.urn]
        except QueryError:
            former = []  # fields that it no longer names count as kept; policy `cluster-readable` reports the error
        return replace(snapshot, live=without_marks(snapshot.live, former), live_unfiltered=snapshot.live)

    def of_stack(self, resources: Resources, stack: str, connection: ClusterConnection | None) -> ClusterSnapshot:
        """Return all resources of the stack beside those of the cluster that are not the stack's."""
        snapshot = self.beside_cluster(tuple(self._as_requested(item, ()) for item in resources), stack, connection)
        if snapshot.error or self._state is None:
            return snapshot
        try:
            applied = self._state.result()
        except QueryError as error:
            return replace(snapshot, live=(), error=f"the stack's state could not be read: {error}")
        former = [item for item in applied if self._of_connection(item, connection)]
        own = tuple(self._as_requested(item, former) for item in resources)
        return replace(snapshot, declared=own, live=without_stack(snapshot.live, former))

    def _of_connection(self, item: Resource, connection: ClusterConnection | None) -> bool:
        """Return True if a resource of the state may be in this cluster; one that the update deletes is in none."""
        deleted = item.urn not in self._requested
        return deleted or self._connections.get(item.provider, connection) == connection

    def _as_requested(self, item: Resource, former: Resources) -> Resource:
        """Return `item` with its requested labels and annotations; a whole resource keeps those of others."""
        requested = self._requested.get(item.urn)
        if requested is None:
            return item
        kept = item.marked({}, {}) if item.patch else without_marks([item], former)[0]
        return kept.marked({**kept.labels, **requested.labels}, {**kept.annotations, **requested.annotations})


def analyzed(snapshot: ClusterSnapshot) -> ClusterSnapshot:
    """Return `snapshot` with the messages of Istio's analyzers.

    Raises:
        QueryError: istioctl failed.
    """
    kinds = sorted({item.base for item in (*snapshot.declared, *snapshot.live)})
    return replace(snapshot, messages=analysis([item for item in snapshot.all(*kinds) if not item.patch]))
