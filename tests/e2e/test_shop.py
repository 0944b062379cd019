"""The shop of examples/: another application than bookinfo, identified by the access log and by a header."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from embedded.project import PROJECT_FOLDER
from tests.conftest import Kubectl
from tests.e2e.promotions import records
from tests.e2e.scene import UP, Done, Scene, until
from waypoint_lab.measure import access_log

EXAMPLE = Path("examples") / "shop"
NAMESPACES = ("shop", "shop-users")
WORKLOADS = (("shop", "stock"), ("shop", "shop-v1"), ("shop", "shop-v2"), ("shop-users", "users"))
HEADER = {"kind": "header", "name": "x-shop-version", "values": {"baseline": "v1", "canary": "v2"}}
ROWS = {"everyone to the canary", "everyone to the baseline", "answered", "no failures", "through the waypoint"}
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def application(kubectl: Kubectl) -> Iterator[None]:
    """Deploy the shop and its users."""
    kubectl("apply", "-k", str(PROJECT_FOLDER / EXAMPLE / "manifests"))
    for namespace, name in WORKLOADS:
        kubectl("rollout", "status", "-n", namespace, f"deploy/{name}", "--timeout=60s")
    yield
    kubectl("delete", "namespace", *NAMESPACES, "--wait=false")


@pytest.fixture(scope="module")
def shop(project: Path, cluster_environment: dict[str, str], application: None) -> Iterator[Scene]:
    """Return the stack of the example, in a copy of it."""
    folder = project / EXAMPLE
    shutil.copytree(PROJECT_FOLDER / EXAMPLE, folder, ignore=shutil.ignore_patterns(".lab*"))
    text = (folder / "Pulumi.shop.yaml").read_text()
    made = Scene(folder, cluster_environment, "shop")
    made.file.write_text(text)
    made.pulumi("stack", "init")
    yield made
    made.pulumi("destroy", "--yes", "--skip-preview")
    made.pulumi("stack", "rm", "--yes", "--preserve-config")


@pytest.fixture
def settings(shop: Scene) -> Iterator[str]:
    """Return the text of the stack's file, which has it again afterwards."""
    text = shop.file.read_text()
    yield text
    shop.file.write_text(text)


def up(shop: Scene, **app: object) -> None:
    """Apply the stack with changes of its settings `app`."""
    document = yaml.safe_load(shop.file.read_text())
    document["config"]["waypoint-lab:app"] |= app
    shop.file.write_text(yaml.safe_dump(document))
    done = shop.apply()
    assert done.returncode == 0, done.stdout + done.stderr


def probe_pods(kubectl: Kubectl) -> list[str]:
    """Return the names of the probe Pods."""
    return kubectl("get", "pods", "-n", "shop-users", "-l", "app=waypoint-lab-probe", "-o", "name").stdout.split()


@pytest.mark.parametrize("identify", [{"kind": "accessLog"}, HEADER], ids=["accessLog", "header"])
def test_verify_of_the_shop_passes(shop: Scene, kubectl: Kubectl, identify: dict[str, object]) -> None:
    up(shop, identify=identify)
    verdicts = shop.verdicts()
    assert set(verdicts) == ROWS
    assert sum(verdicts["everyone to the canary"]["observed"].values()) == 3000
    until(lambda: not probe_pods(kubectl), 20, "no probe Pod is left")


@pytest.mark.parametrize(
    ("api", "cohort"),
    [("gateway-api", {"cookie": "tier", "value": "gold"}), ("virtual-service", {"pathPrefix": "/stock"})],
    ids=["cookie", "pathPrefix"],
)
def test_verify_of_a_cohort_passes(shop: Scene, settings: str, api: str, cohort: dict[str, str]) -> None:
    document = yaml.safe_load(settings)
    document["config"]["waypoint-lab:trafficApi"] = api
    document["config"]["waypoint-lab:stages"]["premium"] = True
    backends = document["config"]["waypoint-lab:app"]["backends"]
    shop.file.write_text(yaml.safe_dump(document))
    premium = {"service": "shop-premium", "selector": {"app": "shop", "version": "v2"}}
    up(shop, identify={"kind": "accessLog"}, cohorts={"premium": cohort}, backends={**backends, "premium": premium})
    found = {name: item["observed"] for name, item in shop.verdicts().items() if name.endswith(" to premium")}
    assert list(found.values()) == [{"premium": 500}]


def test_verify_that_identifies_no_answer_is_one_line(shop: Scene) -> None:
    up(shop, identify={**HEADER, "name": "x-other"})
    done = shop.lab("verify")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith(
        "none of 3000 answers names a backend, they have 'none'; set app.identify to what the application answers"
    )


def test_up_with_a_backend_without_pods_changes_nothing(shop: Scene) -> None:
    document = yaml.safe_load(shop.file.read_text())
    document["config"]["waypoint-lab:app"]["backends"]["canary"]["selector"]["version"] = "v9"
    shop.file.write_text(yaml.safe_dump(document))
    done = shop.run(*UP, "--stack", "shop")
    assert done.returncode != 0
    assert "app.backends.canary.selector: no Pod in shop has the labels app=shop,version=v9; " in done.stdout


def deploy(kubectl: Kubectl, namespace: str, name: str, **environment: object) -> None:
    """Set the environment of a workload, and wait for its new Pods."""
    where = ("-n", namespace, f"deploy/{name}")
    kubectl("set", "env", *where, *(f"{key}={value}" for key, value in environment.items()))
    kubectl("rollout", "status", *where, "--timeout=60s")


@pytest.fixture(scope="module")
def crowd(application: None, kubectl: Kubectl) -> None:
    """Deploy more users than the example has, so that a step is short; a page without the stock costs them less."""
    deploy(kubectl, "shop-users", "users", RATE=200, WORKERS=40, URL="http://shop.shop/stock")


@pytest.fixture
def promote(shop: Scene, kubectl: Kubectl, crowd: None) -> Callable[..., Done]:
    """Return the promotion of the shop's canary from 0 % by the requests of its users."""
    document = yaml.safe_load((PROJECT_FOLDER / EXAMPLE / shop.file.name).read_text())
    shop.journal.file.unlink(missing_ok=True)

    def promote(steps: str, *options: str, fail_percent: float = 0, **gate: float) -> Done:
        deploy(kubectl, "shop", "shop-v2", FAIL_PERCENT=fail_percent)
        settings = {"weight": 0, "evidence": "traffic", **({"gate": gate} if gate else {})}
        document["config"]["waypoint-lab:canary"] = settings
        shop.file.write_text(yaml.safe_dump(document))
        return shop.lab("canary", "promote", "--steps", steps, *options, seconds=240)

    return promote


def test_promotion_of_the_shop_by_its_users_sends_no_request(shop: Scene, promote: Callable[..., Done]) -> None:
    began = time.monotonic()
    done = promote("50,100")
    assert done.returncode == 0, done.stderr
    assert "Promoted; at 100 %" in done.stderr
    assert [set(record["evidence"]) for record in records(shop, "decision")] == [{"traffic"}] * 2
    config = shop.config()
    log = access_log.log(config, "waypoint", int(time.monotonic() - began))
    assert {one["agent"] for one in access_log.requests(log, access_log.address(config))} == {"shop-user"}


def test_promotion_of_the_shop_with_5_percent_failures_rolls_back_before_20_percent(
    shop: Scene, promote: Callable[..., Done]
) -> None:
    done = promote("10,20,100", fail_percent=5)
    assert done.returncode == 1, done.stderr
    assert "RolledBack; at 0 %" in done.stderr
    assert "requests of users to the canary" in done.stderr
    assert all(record["weight"] < 20 for record in records(shop, "decision"))
