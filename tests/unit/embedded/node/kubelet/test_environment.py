"""Environment variables of a container."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from embedded.node.kubelet import container_start, environment
from embedded.node.kubelet.api_cache import ApiStore
from embedded.node.kubelet.images import Image
from tests.unit.embedded.node.documents import CONFIG, POD, Memory
from tests.unit.embedded.node.kubelet.fake_pod import FakePod


def build(container: dict[str, Any]) -> dict[str, str]:
    capacity = {"cpu": "32", "memory": "1Gi"}
    return asyncio.run(environment.build(POD, container, environment.SERVICES, Memory(), capacity))


def test_build_reference_expands_earlier_variables_only() -> None:
    container = {
        "env": [
            {"name": "LATE", "value": "$(PORT)"},
            {"name": "PORT", "value": "80"},
            {"name": "URL", "value": "http://h:$(PORT) $$(PORT) $(NONE)"},
        ]
    }
    got = build(container)
    assert got["LATE"] == "$(PORT)"
    assert got["URL"] == "http://h:80 $(PORT) $(NONE)"


def test_build_reference_expands_variables_of_services() -> None:
    address = "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)"
    own = {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"}
    assert build({"env": [{"name": "API", "value": address}]})["API"] == "https://10.96.0.1:443"
    assert build({"env": [own, {"name": "API", "value": address}]})["API"] == "https://10.96.0.1:6443"


@pytest.mark.asyncio
async def test_prepare_expands_no_variables_of_the_image(tmp_path: Path) -> None:
    pod = FakePod(tmp_path)
    pod.config, pod.store = CONFIG, Memory()
    spec = {"name": "main", "command": ["run", "$(A)", "$(PATH)"], "args": ["$(HOME)", "$(KUBERNETES_SERVICE_HOST)"]}
    spec["workingDir"] = "/srv"
    image = Image([], env={"PATH": "/bin", "HOME": "/root"})
    command, _ = await container_start.prepare(pod, {**spec, "env": [{"name": "A", "value": "a"}]}, image)
    assert (command.argv, command.cwd) == (["run", "a", "$(PATH)", "$(HOME)", "10.96.0.1"], "/srv")
    assert {"PATH": "/bin", "HOME": "/root", "HOSTNAME": "p", "A": "a"}.items() <= command.env.items()


@pytest.mark.asyncio
async def test_build_takes_only_the_text_of_a_config_map() -> None:
    item = {"data": {"a": "1"}, "binaryData": {"logo": base64.b64encode(b"\x00").decode()}}
    store = ApiStore(None, lambda _: None)  # type: ignore[arg-type]
    store._informers["configmaps"].items["ns/cm"] = item
    assert await environment.build(POD, {"envFrom": [{"configMapRef": {"name": "cm"}}]}, {}, store, {}) == {"a": "1"}
    logo = {"name": "LOGO", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "logo"}}}
    with pytest.raises(environment.MissingReference, match="couldn't find key logo in configmap ns/cm"):
        await environment.build(POD, {"env": [logo]}, {}, store, {})
    assert await store.config_map("ns", "cm") == {"a": b"1", "logo": b"\x00"}


def test_build_sources_give_their_values() -> None:
    container = {
        "resources": {"limits": {"memory": "64Mi"}},
        "envFrom": [{"prefix": "CM_", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "sec"}}],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['b']"}}},
            {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "word"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}}},
        ],
    }
    got = build(container)
    expected = {"CM_key": "value", "IP": "10.244.1.1", "LABEL": "2", "WORD": "hidden", "MEM": "64", "CPU": "32"}
    expected["word"] = "hidden"
    assert expected == {name: got[name] for name in expected}
    assert "MAYBE" not in got


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "sec", "key": "k"}}, "couldn't find key k in secret ns/sec"),
        ({"fieldRef": {"fieldPath": "spec.color"}}, "fieldPath spec.color is not supported"),
    ],
)
def test_build_missing_reference_is_named(source: dict[str, Any], complaint: str) -> None:
    with pytest.raises(environment.MissingReference, match=complaint):
        build({"env": [{"name": "X", "valueFrom": source}]})


def test_field_value_labels_are_sorted_and_quoted() -> None:
    assert environment.field_value(POD, "metadata.labels") == 'a="say \\"x\\""\nb="2"'


@pytest.mark.parametrize(("text", "number"), [("250m", 0.25), ("1Gi", 2**30), ("2", 2), ("1e3", 1000), ("5k", 5000)])
def test_quantity_text_becomes_a_number(text: str, number: float) -> None:
    assert number == environment.quantity(text)


def test_expand_known_unknown_name_is_named() -> None:
    assert environment.expand_known("of/$(POD)/$$(X)", {"POD": "one"}) == "of/one/$(X)"
    with pytest.raises(environment.MissingReference, match=r"^of/\$\(POD\): the container has no variable POD$"):
        environment.expand_known("of/$(POD)", {})
