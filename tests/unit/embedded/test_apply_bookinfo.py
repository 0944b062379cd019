"""The application of the embedded cluster beside a user's own."""

import asyncio
from typing import Any, cast

from embedded.control_plane import istio
from embedded.kube import Kube

PRODUCTPAGE = "/apis/apps/v1/namespaces/bookinfo-frontends/deployments/productpage-v1"


class _Cluster:
    """An API server that has some objects and remembers what is applied."""

    def __init__(self, managers: dict[str, list[dict[str, str]]]) -> None:
        self.managers = managers
        self.applied: set[str] = set()

    async def get(self, path: str) -> dict[str, Any] | None:
        found = self.managers.get(path)
        return {"metadata": {"managedFields": found}} if found is not None else None

    async def apply(self, path: str, body: dict[str, Any], *, manager: str) -> None:
        self.applied.add(path)


def _apply(managers: dict[str, list[dict[str, str]]]) -> set[str]:
    cluster = _Cluster(managers)
    asyncio.run(istio.apply_bookinfo(cast(Kube, cluster)))
    return cluster.applied


def test_apply_bookinfo_keeps_the_users_own_object() -> None:
    everything = _apply({})
    assert everything - {PRODUCTPAGE} == _apply({PRODUCTPAGE: [{"manager": "kubectl-client-side-apply"}]})


def test_apply_bookinfo_updates_its_own_objects() -> None:
    status = {"manager": "kubectl", "subresource": "status"}
    assert PRODUCTPAGE in _apply({PRODUCTPAGE: [{"manager": istio.MANAGER}, {"manager": "kube-controller-manager"}]})
    assert PRODUCTPAGE in _apply({PRODUCTPAGE: [{"manager": istio.MANAGER}, status]})
