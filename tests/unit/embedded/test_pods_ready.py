"""Pods and Deployments that keep the cluster from being ready."""

import asyncio
from typing import Any, cast

import pytest

from embedded.control_plane import istio
from embedded.kube import Kube


def not_ready(pods: list[Any], deployments: list[Any]) -> list[str]:
    class Cluster:
        async def request(self, _method: str, path: str) -> dict[str, Any]:
            return {"items": pods if path.endswith("/pods") else deployments}

    return asyncio.run(istio.pods_not_ready(cast(Kube, Cluster())))


def named(name: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "bookinfo-backends", "name": name}, **fields}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_pod_that_has_ended_does_not_count(phase: str) -> None:
    assert not_ready([named("job-x7f2k", status={"phase": phase})], []) == []


def test_pod_that_crashes_is_named() -> None:
    crashed = [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
    pod = named("reviews-v1", status={"phase": "Running", "containerStatuses": crashed})
    assert not_ready([pod], []) == ["bookinfo-backends/reviews-v1: CrashLoopBackOff"]


def test_deployment_of_a_failed_pod_is_named() -> None:
    deployment = named("reviews-v1", spec={"replicas": 1}, status={})
    failed = named("reviews-v1-x", status={"phase": "Failed"})
    assert not_ready([failed], [deployment]) == ["bookinfo-backends/reviews-v1: 0 of 1 Pods ready"]
