import json

import pytest

from tests.unit.configs import lab_config
from waypoint_lab.config.app_models import PRODUCTPAGE, JsonIdentify, PodClient
from waypoint_lab.config.models import StagesSettings
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.traffic_models import CanarySettings
from waypoint_lab.config.types import seconds
from waypoint_lab.errors import ConfigError
from waypoint_lab.masking import SECRET

WEIGHT = "use a number: whole from 0 to 100, or below 1 with at most 4 decimals"
NAME = "use a Kubernetes name: lower-case letters, digits and -"

PROMETHEUS = {"evidence": "prometheus"}


def test_from_mapping_text_of_numbers_reads_as_numbers() -> None:
    given = {"stages": {"waypoint": "true", "canary": True}, "canary": {"weight": "0.1", "steps": ["0.5", 5]}}
    expected = LabConfig(
        stages=StagesSettings(waypoint=True, canary=True), canary=CanarySettings(weight=0.1, steps=(0.5, 5))
    )
    assert expected == LabConfig.from_mapping(given)


def test_from_mapping_empty_returns_the_defaults() -> None:
    assert LabConfig() == LabConfig.from_mapping({})


def test_from_mapping_digits_for_text_reads_as_text() -> None:
    assert lab_config(fault={"start": 2}).fault.start == "2"


def test_from_stack_ignores_other_projects_and_parses_json() -> None:
    given = {"kubernetes:context": "x", "waypoint-lab:canary": '{"weight":7}'}
    assert LabConfig(canary=CanarySettings(weight=7)) == LabConfig.from_stack(given)


CRITERIA = "set one of header, cookie, query, method, path, pathPrefix"
METHOD = "use an HTTP method in upper case, such as GET"
STATUSES = "use a list of statuses and ranges of statuses, such as [200-399, 404]"
CANARY = {"waypoint": True, "canary": True}
BASELINE, V2 = {"service": "shop-v1"}, {"service": "shop-v2", "selector": {"app": "shop", "version": "v2"}}
SHOP = {"baseline": BASELINE, "canary": V2}
METALS = {**SHOP, "gold": {"service": "shop-gold"}, "silver": {"service": "shop-silver"}}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"canry": {}}, "canry: there is no such setting; did you mean canary?"),
        ({"canary": {"wieght": 5}}, "canary.wieght: there is no such setting; did you mean weight?"),
        ({"stages": {"cannary": True}}, "stages.cannary: there is no such setting; did you mean canary?"),
        ({"canary": 5}, "canary: 5 is not valid; use a map of settings"),
        ({"canary": {"weight": 101}}, f"canary.weight: 101 is not valid; {WEIGHT}"),
        ({"canary": {"weight": 12.5}}, f"canary.weight: 12.5 is not valid; {WEIGHT}"),
        ({"canary": {"weight": "0.00001"}}, f'canary.weight: "0.00001" is not valid; {WEIGHT}'),
        ({"canary": {"weight": True}}, f"canary.weight: true is not valid; {WEIGHT}"),
        ({"canary": {"weight": None}}, f"canary.weight: null is not valid; {WEIGHT}"),
        (
            {"canary": {"cohort": {"header": "tester"}}},
            "canary.cohort: value goes with header, cookie, query; set both or none",
        ),
        ({"canary": {"cohort": {"method": "POST", "path": "/"}}}, f"canary.cohort: it has method, path; {CRITERIA}"),
        ({"app": {"cohorts": {"gold": {"value": "jane"}}}}, f"app.cohorts.gold: it has no criterion; {CRITERIA}"),
        (
            {"app": {"cohorts": {"gold": {"pathPrefix": "cart"}}}},
            'app.cohorts.gold.pathPrefix: "cart" is not valid; use empty, or a path that begins with /, '
            "percent-encoded, without query and without *, { and }",
        ),
        (
            {"canary": {"cohort": {"method": "GET"}}},
            "canary.cohort: app.request is in this cohort, too, so others cannot be measured; change one of both",
        ),
        (
            {"app": {"cohorts": {"gold": {"pathPrefix": "/reviews"}}}},
            "app.cohorts.gold: app.request is in this cohort, too, so others cannot be measured; change one of both",
        ),
        (
            {
                "stages": {"waypoint": True, "abort": True},
                "app": {"request": {"headers": {"End-User": "jane"}}},
                "fault": {"header": {"name": "end-user", "value": "jane"}},
            },
            "fault.header: app.request has this header, too, so others cannot be measured; change one of both",
        ),
        (
            {"canary": {"cohort": {"header": "tester", "value": True}}},
            "canary.cohort.value: true is not valid; use printable text, or empty; "
            'quote it as text: "true" (pulumi config set --type string)',
        ),
        (
            {"app": {"request": {"headers": {"beta": False}}}},
            "app.request.headers.beta: false is not valid; use printable text that is not empty; "
            'quote it as text: "false" (pulumi config set --type string)',
        ),
        ({"app": {"request": {"method": True}}}, f"app.request.method: true is not valid; {METHOD}"),
        ({"app": {"request": {"success": [True]}}}, f"app.request.success: [true] is not valid; {STATUSES}"),
        (
            {"canary": {"steps": [5, 1]}},
            "canary.steps: [5, 1] is not valid; use a list of rising percentages, whole from 0 to 100, or below 1 "
            "with at most 4 decimals, such as [0.1, 1, 5, 20, 50, 100]",
        ),
        (
            {"notify": {"webhook": "ftp://a"}},
            'notify.webhook: "ftp://a" is not valid; use empty, or an http or https address',
        ),
        (
            {"notify": {"webhook": "https://a:99999"}},
            'notify.webhook: "https://a:99999" is not valid; use empty, or an http or https address',
        ),
        ({"waypoint": {"replicas": 0}}, "waypoint.replicas: 0 is not valid; use a whole number from 1 to 1000"),
        (
            {"waypoint": {"replicas": 2, "autoscaling": {"min": 1, "max": 2}}},
            "waypoint.replicas: it excludes waypoint.autoscaling, which chooses the number; unset one of both",
        ),
        (
            {"waypoint": {"autoscaling": {"min": 3, "max": 2}}},
            "waypoint.autoscaling.max: 2 is below waypoint.autoscaling.min, 3; raise it",
        ),
        (
            {"waypoint": {"disruptionBudget": {}}},
            "waypoint.disruptionBudget: set either minAvailable or maxUnavailable",
        ),
        (
            {"waypoint": {"replicas": 2, "disruptionBudget": {"minAvailable": 2}}},
            "waypoint.disruptionBudget.minAvailable: 2 of 2 replicas lets no node be drained; use less, or more "
            "replicas",
        ),
        (
            {"waypoint": {"resources": {"limits": {"cpu": "many"}}}},
            'waypoint.resources.limits.cpu: "many" is not valid; use empty, or a quantity of Kubernetes, such as '
            "500m or 256Mi",
        ),
        (
            {"canary": {"gate": {"seconds": 10}}},
            "canary.gate: it has no threshold; set successRate, p99Seconds, p99Ratio or share",
        ),
        (
            {"canary": {"gate": {"successRate": 0}}},
            "canary.gate.successRate: 0 is not valid; use a number above 0, at most 100",
        ),
        (
            {"canary": {"gate": {"minimumRequests": 99}}},
            "canary.gate.minimumRequests: 99 is not valid; use a whole number from 100 to 100000",
        ),
        ({"canary": {"gate": {"share": "perhaps"}}}, 'canary.gate.share: "perhaps" is not valid; use true or false'),
        (
            {"canary": {"gate": {"prometheus": {"url": "ftp://x", "requests": "up"}}}},
            'canary.gate.prometheus.url: "ftp://x" is not valid; use an http or https address',
        ),
        (
            {"canary": {"gate": {"prometheus": {"url": "http://x"}}}},
            "canary.gate.prometheus.requests: it is missing; use printable text that is not empty",
        ),
        (
            {"canary": {**PROMETHEUS, "gate": {"successRate": 9, "prometheus": {"url": "http://x", "requests": "up"}}}},
            "canary.gate.prometheus.successRate: it goes with canary.gate.successRate; set both or none",
        ),
        (
            {"canary": {"evidence": ["probe", "guess"]}},
            'canary.evidence: ["probe", "guess"] is not valid; use probe, traffic or prometheus, or a list of them',
        ),
        (
            {"canary": {"evidence": []}},
            "canary.evidence: [] is not valid; use probe, traffic or prometheus, or a list of them",
        ),
        ({"canary": PROMETHEUS}, "canary.evidence: prometheus goes with canary.gate.prometheus; set both or none"),
        (
            {"canary": {"gate": {"p99Ratio": 2}}},
            "canary.gate.p99Ratio: only traffic can measure it; unset it, or add traffic to canary.evidence",
        ),
        (
            {"canary": {"evidence": "traffic", "gate": {"p99Seconds": 2}}},
            "canary.gate.p99Seconds: with canary.evidence traffic it needs stages.accessLog, which is off; turn it on",
        ),
        (
            {"canary": {"evidence": "traffic", "gate": {"share": True}}},
            "canary.gate.share: only the probe can measure it; unset it, or add probe to canary.evidence",
        ),
        (
            {"waypoint": {"name": "reviews-stable"}},
            "waypoint.name: reviews-stable is app.backends.canary, too; use another name",
        ),
        ({"canary": {"mirrorPercent": 5}}, "canary.mirrorPercent: it needs stages.canary, which is off; turn it on"),
        (
            {
                "stages": {"waypoint": True, "canary": True, "premium": True},
                "canary": {"cohort": {"header": "End-User", "value": "premium-user"}},
            },
            "canary.cohort: it matches the same requests as app.cohorts.premium; use another one",
        ),
        (
            {"canary": {"requestHeaders": {"a b": "c"}}},
            'canary.requestHeaders: "a b" is not valid; use the name of an HTTP header, such as end-user',
        ),
        (
            {"fault": {"abort": {"percent": "nan"}}},
            'fault.abort.percent: "nan" is not valid; use a number from 0 to 100',
        ),
        (
            {"fault": {"abort": {"status": "503.0"}}},
            'fault.abort.status: "503.0" is not valid; use a whole number from 200 to 599',
        ),
        ({"fault": {"at": "downstream"}}, 'fault.at: "downstream" is not valid; use waypoint or upstream'),
        (
            {"retries": {"perTryTimeout": "500"}},
            'retries.perTryTimeout: "500" is not valid; use a duration above zero, such as 500ms or 1.5s',
        ),
        ({"app": {"deployBookinfo": "yes"}}, 'app.deployBookinfo: "yes" is not valid; use true or false'),
        ({"app": {"namespace": "Not_OK"}}, f'app.namespace: "Not_OK" is not valid; {NAME}'),
        (
            {"app": {"cohorts": {"gold": {"header": "x", "value": "a\nb"}}}},
            'app.cohorts.gold.value: "a\\nb" is not valid; use printable text, or empty',
        ),
        (
            {"app": {"service": "ratings"}},
            "app.service: it is ratings, but app.backends and app.request are still of reviews; "
            "set app.backends and app.request",
        ),
        ({"app": {"request": {"method": "get"}}}, f'app.request.method: "get" is not valid; {METHOD}'),
        *(
            (
                {"app": {"request": {"path": path}}},
                f"app.request.path: {json.dumps(path)} is not valid; "
                "use a path that begins with /, percent-encoded, with the query if there is one",
            )
            for path in ("/a b", "/jäger", "reviews/0")
        ),
        ({"app": {"request": {"success": []}}}, f"app.request.success: [] is not valid; {STATUSES}"),
        ({"app": {"request": {"success": ["400-300"]}}}, f'app.request.success: ["400-300"] is not valid; {STATUSES}'),
        ({"app": {"request": {"success": [99]}}}, f"app.request.success: [99] is not valid; {STATUSES}"),
        (
            {"app": {"identify": {"kind": "cookie"}}},
            'app.identify.kind: "cookie" is not valid; use json or header or accessLog',
        ),
        (
            {"app": {"identify": {"kind": "header", "values": {}}}},
            "app.identify.name: it is missing; use the name of an HTTP header, such as end-user",
        ),
        (
            {"app": {"identify": {"kind": "accessLog"}}, "stages": CANARY},
            "app.identify.kind: accessLog needs stages.accessLog, which is off; turn it on, or use another kind",
        ),
        (
            {
                "app": {
                    "identify": {"kind": "accessLog"},
                    "cohorts": {"premium": {"header": "User-Agent", "value": "shop"}},
                },
                "stages": {"waypoint": True, "accessLog": True, "premium": True},
            },
            "app.cohorts.premium.header: app.identify.kind accessLog gives each request another one; "
            "use another kind, or another header",
        ),
        (
            {"app": {"identify": {"values": {"baseline": "v1"}}}, "stages": CANARY},
            "app.identify.values.canary: it is missing; add the value of this backend",
        ),
        (
            {"app": {"identify": {"values": {"baseline": "v1", "canary": "v1"}}}, "stages": CANARY},
            "app.identify.values: baseline, canary must differ; give each a value of its own",
        ),
        (
            {"app": {"service": "shop", "backends": SHOP, "request": {"path": "/"}}, "stages": CANARY},
            "app.identify: it is still of reviews; set app.identify, such as kind: accessLog",
        ),
        (
            {"app": {"backends": {"canary": V2}}},
            "app.backends.baseline: it is missing; use a map of settings",
        ),
        (
            {"app": {"backends": SHOP}, "stages": {"waypoint": True, "premium": True}},
            "app.cohorts.premium: there is no app.backends.premium; set it, or turn stages.premium off",
        ),
        (
            {"app": {"cohorts": {"canary": {"method": "POST"}}}},
            "app.cohorts.canary: canary gets the others; use canary.cohort, or name another backend",
        ),
        (
            {"app": {"cohorts": {}}, "stages": {"waypoint": True, "premium": True}},
            "stages.premium: it needs app.cohorts, which is empty; add a cohort or turn premium off",
        ),
        (
            {
                "app": {"cohorts": {"gold": {"method": "PUT"}, "silver": {"method": "PUT"}}, "backends": METALS},
                "stages": {"waypoint": True, "premium": True},
            },
            "app.cohorts.silver: it matches the same requests as app.cohorts.gold; use another one",
        ),
        (
            {"app": {"backends": {**SHOP, **{f"b{number}": {"service": f"b{number}"} for number in range(14)}}}},
            "app.backends: it has 16 backends; use at most 15",
        ),
        (
            {"app": {"backends": {**SHOP, "baseline": {"service": "reviews"}}}},
            "app.backends: Service reviews is named twice; give the application and each backend one of its own",
        ),
        (
            {"app": {"backends": SHOP}, "waypoint": {"failClosed": True}},
            "waypoint.failClosed: it needs a label that the Pods of all backends have; "
            "set app.backends with selectors that share one",
        ),
        ({"waypoint": {"name": ""}}, f'waypoint.name: "" is not valid; {NAME}'),
        (
            {"waypoint": {"revision": "1.31.0"}},
            f'waypoint.revision: "1.31.0" is not valid; {NAME.replace("use a", "use empty, or a")}',
        ),
        ({"waypoint": {"canary": {"weight": 5}}}, f"waypoint.canary.name: it is missing; {NAME}"),
        (
            {"waypoint": {"canary": {"name": "next", "weight": 12.5}}},
            "waypoint.canary.weight: 12.5 is not valid; use a whole number from 0 to 100",
        ),
        (
            {"waypoint": {"name": "blue", "canary": {"name": "blue"}}},
            "waypoint.canary.name: blue is waypoint.name, too; use another name",
        ),
        ({"target": "kind"}, 'target: "kind" is not valid; use a map of settings'),
        (
            {"target": {"context": "west"}},
            "target.context: target.kind embedded has no such setting; set target.kind to existing",
        ),
        (
            {"stages": {"canary": True}},
            "stages.canary: it needs stages.waypoint, which is off; turn waypoint on or canary off",
        ),
    ],
)
def test_from_mapping_bad_input_names_path_value_and_what_is_right(given: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        LabConfig.from_mapping(given)
    assert f"waypoint-lab:{line}" == str(error.value)


def test_from_mapping_partial_object_keeps_the_other_defaults() -> None:
    app = lab_config(app={"port": 80}).app
    assert (str(app.cohorts["premium"]), app.request.path) == ("end-user=premium-user", "/reviews/0")
    assert app.common_labels == {"app": "reviews"}


def test_from_mapping_own_backends_keep_none_of_the_defaults() -> None:
    app = lab_config(app={"backends": SHOP}).app
    assert ([*app.backends], app.baseline.selector) == (["baseline", "canary"], {})
    assert app.common_labels == {}


def test_header_names_compare_in_lower_case() -> None:
    config = lab_config(fault={"header": {"name": "End-User", "value": "Jane"}})
    assert config.fault.header_pair == ("end-user", "Jane")


@pytest.mark.parametrize(("weight", "shares"), [(0, [1.0, 0.0]), (20, [0.8, 0.2]), (100, [0.0, 1.0])])
def test_waypoints_with_a_canary_share_all_connections(weight: int, shares: list[float]) -> None:
    found = lab_config(waypoint={"name": "blue", "canary": {"name": "green", "weight": weight}}).waypoints
    assert list(zip(("blue", "green"), shares, strict=True)) == list(found.items())


@pytest.mark.parametrize("route", ["canary", "premium"])
@pytest.mark.parametrize("fault", ["delay", "abort", "retries"])
def test_from_mapping_route_and_fault_exclude_each_other(route: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=rf"stages\.{route}: it excludes stages\.{fault}"):
        lab_config("waypoint", route, fault)
    assert {"waypoint", route, fault} == lab_config("waypoint", route, fault, trafficApi="virtual-service").stages.on


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 0.5), ("1.5s", 1.5), ("1m30s", 90.0), *((text, 0.0) for text in ("", "0s", "5", "-1s", "1 s", "s"))],
)
def test_seconds_reads_durations_above_zero(text: str, expected: float) -> None:
    assert pytest.approx(expected) == seconds(text)


def test_address_that_is_secret_is_valid() -> None:
    assert lab_config(notify={"webhook": "[secret]"}).notify.webhook == "[secret]"


def test_request_counts_its_own_statuses_as_success() -> None:
    request = lab_config(app={"request": {"success": [404, "200-299"]}}).app.request
    assert [*map(request.succeeded, ("404", "204", "301", "503", "TimeoutError"))] == [True, True, False, False, False]


def test_identify_by_json_keeps_the_default_path_beside_own_values() -> None:
    identify = lab_config(app={"identify": {"values": {"baseline": "a", "canary": "b"}}}).app.identify
    assert (type(identify), identify.value("canary"), identify.value("premium")) == (JsonIdentify, "b", "")


def test_identify_by_access_log_has_the_backends_names() -> None:
    config = lab_config("waypoint", "accessLog", "canary", app={"identify": {"kind": "accessLog"}})
    assert config.app.identify.value("canary") == "canary"


def test_fault_header_of_the_request_is_accepted_without_a_fault() -> None:
    app, fault = {"request": {"headers": {"a": "b"}}}, {"header": {"name": "a", "value": "b"}}
    assert lab_config("waypoint", "retries", app=app, fault=fault).fault.header_pair == ("a", "b")


def test_secrets_are_not_compared() -> None:
    secret = {"header": "tester", "value": SECRET}
    app = {
        "request": {"headers": {"tester": SECRET}},
        "identify": {"values": dict.fromkeys(("baseline", "canary", "gold"), SECRET)},
        "backends": {**SHOP, "gold": {"service": "gold"}},
        "cohorts": {"gold": secret},
    }
    fault = {"header": {"name": "tester", "value": SECRET}}
    on = ("waypoint", "canary", "premium", "abort")
    given = {"app": app, "canary": {"cohort": secret}, "fault": fault, "trafficApi": "virtual-service"}
    assert frozenset(on) == lab_config(*on, **given).stages.on


@pytest.mark.parametrize(
    ("objects", "client"),
    [
        ({}, PRODUCTPAGE),
        ({"target": {"kind": "existing", "kubeconfig": "/k"}}, PodClient(namespace="bookinfo-backends")),
        (
            {"app": {"namespace": "shop", "service": "shop", "backends": SHOP, "request": {"path": "/cart"}}},
            PodClient(namespace="shop"),
        ),
    ],
    ids=["bookinfo", "own cluster", "own application"],
)
def test_client_is_productpage_only_of_bookinfo_on_the_embedded_cluster(
    objects: dict[str, object], client: object
) -> None:
    assert lab_config("waypoint", **objects).client == client


@pytest.mark.parametrize(
    ("target", "app", "installs"),
    [
        ("kind", {}, True),
        ("embedded", {}, False),
        ("kind", {"deployBookinfo": False}, False),
        ("embedded", {"deployBookinfo": True}, True),
    ],
)
def test_bookinfo_is_installed_on_kind_unless_it_is_set(target: str, app: dict[str, object], installs: bool) -> None:
    assert lab_config("waypoint", target={"kind": target}, app=app).installs_bookinfo is installs


@pytest.mark.parametrize(("namespace", "found"), [("", ["shop"]), ("infra", ["shop", "infra"])])
def test_namespaces_are_those_of_the_application_and_the_waypoints(namespace: str, found: list[str]) -> None:
    waypoint = {"namespace": namespace} if namespace else {}
    config = lab_config("waypoint", app={"namespace": "shop"}, waypoint=waypoint)
    assert (config.namespaces, config.waypoint_namespace) == (found, found[-1])
