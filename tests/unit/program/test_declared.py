import json
from typing import Any

import msgspec
import pulumi
import pytest

from components._internal import cohorts, http_text
from tests.unit.components.recording import run
from tests.unit.configs import lab_config
from waypoint_lab import masking
from waypoint_lab.config import deployed
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError
from waypoint_lab.program import declared

GOLD = {"premium": {"query": "tier", "value": "gold"}}
COHORT = {"header": "x-team", "value": "testers"}
CONFIG = {"waypoint-lab:canary": json.dumps({"weight": "0.5", "cohort": COHORT}), "other:canary": "x"}


@pytest.fixture
def secret_canary() -> None:
    pulumi.runtime.set_all_config(CONFIG, ["waypoint-lab:canary"])


@pytest.mark.usefixtures("secret_canary")
def test_load_reads_pulumis_config_with_its_secrets() -> None:
    config = declared.load()
    assert lab_config(canary={"weight": 0.5, "cohort": COHORT}) == config
    assert frozenset({"testers"}) == declared.secrets(config)


def test_load_of_an_unknown_setting_names_it() -> None:
    pulumi.runtime.set_all_config({"waypoint-lab:canaryWeight": "5"}, [])
    with pytest.raises(ConfigError, match="waypoint-lab:canaryWeight: there is no such setting; did you mean canary"):
        declared.load()


@pytest.mark.parametrize(
    ("webhook", "shown"),
    [
        ("hooks.example/T0/VERYSECRET", "[secret]"),
        ("hooks.example/schl\u00fcssel/VERYSECRET", "[secret]"),
        ('hooks.example/"a"/VERYSECRET', "[secret]"),
        ({"to": ["webhook", "VERYSECRET"]}, '{"to": ["[secret]", "[secret]"]}'),
    ],
)
def test_load_error_hides_a_value_of_a_secret_object(webhook: Any, shown: str) -> None:
    pulumi.runtime.set_all_config({"waypoint-lab:notify": json.dumps({"webhook": webhook})}, ["waypoint-lab:notify"])
    shown = shown if shown.startswith("{") else f'"{shown}"'
    with pytest.raises(ConfigError) as raised:
        declared.load()
    assert str(raised.value).startswith(f"waypoint-lab:notify.webhook: {shown} is not valid; use ")


def test_load_error_hides_an_object_that_is_secret_text() -> None:
    pulumi.runtime.set_all_config({"waypoint-lab:notify": "https://VERYSECRET"}, ["waypoint-lab:notify"])
    with pytest.raises(ConfigError, match=r'^waypoint-lab:notify: "\[secret\]" is not valid; use a map'):
        declared.load()


def test_secrets_of_a_plain_config_are_none() -> None:
    pulumi.runtime.set_all_config(CONFIG, [])
    assert frozenset() == declared.secrets(declared.load())


def test_secrets_are_all_free_texts_of_an_object_with_a_secret() -> None:
    values = {"baseline": "v-one", "canary": "v-two", "premium": "v-three"}
    config = {
        "waypoint": {"podLabels": {"team": "edge"}, "podAnnotations": {"note": "t0ken"}, "revision": "next"},
        "fault": {"header": {"name": "end-user", "value": "jane"}, "start": "again"},
        "app": {"identify": {"kind": "header", "name": "x-version", "values": values}, "cohorts": GOLD},
        "retries": {"perTryTimeout": "1500ms"},
        "target": {"kind": "existing", "context": "prod"},
    }
    objects = {f"waypoint-lab:{name}": json.dumps(item) for name, item in config.items()}
    pulumi.runtime.set_all_config(objects, [*objects])
    found = declared.secrets(declared.load())
    assert found == {"edge", "t0ken", "jane", "again", *values.values(), "gold", "/reviews/0", "prod"}


def test_hidden_replaces_secrets_in_text() -> None:
    found: dict[str, Any] = {}

    def program() -> None:
        found.update(
            declared.hidden({"a": "testers", "b": ['{"x": "testers"}', "test"], "c": 5}, frozenset({"testers"}))
        )

    run(program)
    assert [found["b"][1], found["c"]] == ["test", 5]
    assert isinstance(found["a"], pulumi.Output)
    assert isinstance(found["b"][0], pulumi.Output)


@pytest.mark.parametrize("secret", ["50%off", "a.b-c+d", 'say "hi"'])
def test_hidden_replaces_secrets_as_envoy_and_json_have_them(secret: str) -> None:
    found: list[Any] = []
    texts = [http_text.literal(secret), cohorts.cookie_pattern(f"tier={secret}"), json.dumps({"x": secret})]
    run(lambda: found.extend(declared.hidden(texts, frozenset({secret}))))
    assert found
    assert all(isinstance(each, pulumi.Output) for each in found)


def test_deployed_read_returns_what_outputs_declare() -> None:
    config = lab_config("waypoint", "canary", canary={"weight": 0.1, "gate": {"successRate": 99}})
    found = declared.outputs(config, frozenset())
    assert "notify" not in found["declared"]  # which has addresses that only their owners may know
    assert config == deployed.read(found, "dev")
    assert LabConfig() == deployed.read({"declared": msgspec.to_builtins(LabConfig())}, "dev")


def test_deployed_read_without_a_deployment_is_an_error() -> None:
    with pytest.raises(ConfigError, match="stack dev: nothing is deployed; run `pulumi up`"):
        deployed.read({}, "dev")


def test_ahead_names_the_first_setting_that_differs() -> None:
    before = lab_config("waypoint", "canary")
    assert deployed.ahead(before, before, "dev") == ""
    after = lab_config("waypoint", "canary", canary={"weight": 50, "mirrorPercent": 5})
    assert deployed.ahead(after, before, "dev") == (
        "Pulumi.dev.yaml: it is ahead of the deployment, canary.weight is 50.0 and was deployed as 20 and 1 more; "
        "run `pulumi up`"
    )


def test_ahead_shows_no_text_which_may_be_secret() -> None:
    file, stack = ({"cohort": {**COHORT, "value": value}} for value in ("new", "testers"))
    assert deployed.ahead(lab_config(canary=file), lab_config(canary=stack), "dev") == (
        "Pulumi.dev.yaml: it is ahead of the deployment, canary.cohort.value differs; run `pulumi up`"
    )


def test_deployed_secrets_are_hidden_unless_they_are_plain_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_known", set())

    def secret(text: str) -> dict[str, str]:
        return {deployed._MARK: deployed._IS_SECRET, "plaintext": json.dumps(text)}

    config = lab_config("waypoint", "canary", canary={"cohort": COHORT})
    outputs = declared.outputs(config, frozenset())
    outputs["declared"]["canary"]["cohort"] = {"header": secret("x-team"), "value": secret("testers")}
    resources = [{"type": "kubernetes:core/v1:Service"}, {"type": "pulumi:pulumi:Stack", "outputs": outputs}]
    assert config == deployed.of_state({"deployment": {"resources": resources}}, "dev", ["x-team"])
    assert masking.hidden("x-team=testers") == "x-team=[secret]"


@pytest.mark.parametrize("state", [{}, {"deployment": None}, {"deployment": {"resources": [{"type": "a:b:Stack"}]}}])
def test_deployed_of_a_state_without_outputs_is_an_error(state: Any) -> None:
    with pytest.raises(ConfigError, match="stack dev: nothing is deployed; run `pulumi up`"):
        deployed.of_state(state, "dev", [])
