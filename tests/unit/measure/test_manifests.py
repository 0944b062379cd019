"""Manifests of a stack, and of a namespace."""

import json
from typing import Any

import pytest

from waypoint_lab import kubectl
from waypoint_lab.config.models import ExistingTarget
from waypoint_lab.measure import manifests, proxy_versions
from waypoint_lab.pulumi_cli import PulumiStack

ROUTE = {"apiVersion": "v1", "kind": "HTTPRoute", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"a": 1}}


def test_deployed_are_the_inputs_of_kubernetes_objects(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    resources = [
        {"type": "pulumi:pulumi:Stack"},
        {"type": "pulumi:providers:kubernetes", "inputs": {"kubeconfig": "token"}},
        {"type": "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute", "inputs": ROUTE},
    ]
    text = json.dumps({"deployment": {"resources": resources}})
    monkeypatch.setattr(manifests, "pulumi", lambda *_arguments: text)
    assert manifests.deployed(PulumiStack(tmp_path, "dev")) == {"HTTPRoute shop/web": ROUTE}


def test_deployed_of_an_empty_stack_are_none(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "pulumi", lambda *_arguments: '{"deployment": {"manifest": {}}}')
    assert manifests.deployed(PulumiStack(tmp_path, "dev")) == {}


def test_live_objects_have_no_field_of_the_api_server(monkeypatch: pytest.MonkeyPatch) -> None:
    meta = {**ROUTE["metadata"], "uid": "1", "managedFields": [], "annotations": {manifests._LAST_APPLIED: "{}"}}  # type: ignore[dict-item]
    noted = {"kind": "Service", "metadata": {"name": "web", "annotations": {"a": "b"}}}
    owned = {"kind": "Service", "metadata": {"name": "waypoint", "ownerReferences": [{}]}}
    items = [{**ROUTE, "metadata": meta, "status": {}}, owned, {**noted, "status": {}}]
    monkeypatch.setattr(kubectl, "items", lambda *_arguments: items)
    assert manifests.live(ExistingTarget(), "shop") == {"HTTPRoute shop/web": ROUTE, "Service web": noted}


def test_changed_are_new_and_different_objects() -> None:
    assert manifests.changed({"a": {"x": 1}, "b": {"x": 1}}, {"a": {"x": 1}, "b": {"x": 2}, "c": {}}) == {
        "b": {"x": 2},
        "c": {},
    }


def test_proxy_versions_without_a_pod_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubectl, "items", lambda *_arguments: [])
    assert set(proxy_versions.read(ExistingTarget(), "shop", ["waypoint"]).values()) == {"unknown"}


def test_proxy_versions_are_those_of_the_waypoint(monkeypatch: pytest.MonkeyPatch) -> None:
    info = {"version": "abc/1.40.0/Clean/RELEASE/BoringSSL"}
    answers = iter((json.dumps(info), json.dumps({"clientVersion": {"version": "1.31.0"}})))
    monkeypatch.setattr(kubectl, "items", lambda *_arguments: [{"metadata": {"name": "waypoint-1"}}])
    monkeypatch.setattr(kubectl, "run", lambda *_arguments, **_more: next(answers))
    found = proxy_versions.read(ExistingTarget(), "shop", ["waypoint"])
    assert found == {"Istio": "1.31.0", "Envoy": "1.40.0"}
