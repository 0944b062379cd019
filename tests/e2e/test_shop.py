"""The shop of examples/: another application than bookinfo, identified by the access log and by a header."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from embedded.project import PROJECT_FOLDER
from tests.conftest import Kubectl
from tests.documented import documented
from tests.e2e.promotions import records
from tests.e2e.scene import UP, Done, Scene, until
from waypoint_lab.measure import access_log

EXAMPLE = Path("examples") / "shop"
NAMESPACES = ("shop", "shop-users")
WORKLOADS = (("shop", "stock"), ("shop", "shop-v1"), ("shop", "shop-v2"), ("shop-users", "users"))
HEADER = {"kind": "header", "name": "x-shop-version", "values": {"baseline": "v1", "canary": "v2"}}
ROWS = {"everyone to the canary", "everyone to the baseline", "answered", "no failures", "through the waypoint"}
YES = "--yes --skip-preview --non-interactive --suppress-progress"
SLOWER = {"0.3": "0.9"}  # three times the other version
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def application(kubectl: Kubectl, cluster_environment: dict[str, str]) -> Iterator[None]:
    """Deploy the shop and its users."""
    applied = documented("docs/own-service.md", "kubectl apply -k examples/shop/manifests")
    subprocess.run(["sh", "-c", applied], cwd=PROJECT_FOLDER, env=cluster_environment, check=True, timeout=60)
    for namespace, name in WORKLOADS:
        kubectl("rollout", "status", "-n", namespace, f"deploy/{name}", "--timeout=60s")
    yield
    delete = documented("examples/shop/README.md", "kubectl delete -k manifests", more="--wait=false")
    subprocess.run(["sh", "-c", delete], cwd=PROJECT_FOLDER / EXAMPLE, env=cluster_environment, check=True, timeout=60)


@pytest.fixture(scope="module")
def shop(project: Path, cluster_environment: dict[str, str], application: None) -> Iterator[Scene]:
    """Return the stack of the example, in a copy of it."""
    folder = project / EXAMPLE
    shutil.copytree(PROJECT_FOLDER / EXAMPLE, folder, ignore=shutil.ignore_patterns(".lab*"))
    text = (folder / "Pulumi.shop.yaml").read_text()
    made = Scene(folder, cluster_environment, "shop")
    made.file.write_text(text)
    made.shell(documented("docs/own-service.md", "pulumi stack select --create shop"))
    yield made
    made.shell(documented("docs/own-service.md", "pulumi destroy", more="--yes --skip-preview"), 300)
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


def test_commands_of_the_shop_succeed_in_their_order(shop: Scene, settings: str) -> None:
    shop.shell(documented("examples/shop/README.md", "pulumi config set --path target.kind existing"))
    assert "MISSING" not in shop.shell(documented("docs/own-service.md", "lab doctor --stack shop")).stdout
    assert "+ " in shop.shell(documented("docs/own-service.md", "pulumi up", more=YES), 200).stdout
    assert "passed" in shop.shell(documented("docs/own-service.md", "lab verify --stack shop")).stdout
    packed = documented("examples/shop/README.md", "pulumi up --policy-pack ../../policies", more=YES)
    assert "waypoint-lab" in shop.shell(packed, 200).stdout
    (levels,) = re.findall(r"```json\n(.*?)```", (PROJECT_FOLDER / "docs" / "policies.md").read_text(), re.DOTALL)
    (shop.folder / "policies.json").write_text(levels)
    configured = documented(
        "docs/policies.md",
        "pulumi up --policy-pack policies --policy-pack-config policies.json",
        {"--policy-pack policies ": "--policy-pack ../../policies "},
        YES,
    )
    shop.shell(configured, 200)
    shop.shell(documented("examples/shop/README.md", "pulumi config set --path canary.weight 1"))
    answers = documented("examples/shop/README.md", "kubectl logs -n shop-users deploy/users --tail 1")
    assert "200" in shop.shell(answers).stdout


@pytest.mark.slow
def test_verify_of_the_shop_by_a_header_passes(shop: Scene, kubectl: Kubectl) -> None:
    up(shop, identify=HEADER)
    verdicts = shop.verdicts()
    assert set(verdicts) == ROWS
    assert sum(verdicts["everyone to the canary"]["observed"].values()) == 3000
    until(lambda: not probe_pods(kubectl), 20, "no probe Pod is left")


@pytest.mark.slow
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


@pytest.mark.slow
def test_guard_of_a_route_that_breaks_the_shop_takes_it_away(shop: Scene, kubectl: Kubectl) -> None:
    up(shop, identify={"kind": "accessLog"})
    command = documented(
        "examples/shop/README.md",
        "lab guard --stack shop --rollback 'kubectl delete -f broken-route.yaml' -- kubectl apply -f broken-route.yaml",
        # Latencies of a busy machine differ without a change.
        {"lab guard": "lab guard --seconds 5 --p99-factor 50 --json"},
    )
    done = shop.run("sh", "-c", command)
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)
    (route,) = [one for one in found["differences"] if one["kind"] == "route" and one["verdict"] == "failed"]
    assert route["where"] == "stock:80"
    assert "stock-next.shop.svc.cluster.local:80, which has no healthy endpoint" in route["evidence"]
    assert found["rollback"]["restored"] is True, found["rollback"]
    assert "/stock" not in kubectl("get", "httproutes", "-n", "shop", "-o", "name").stdout


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
    deploy(kubectl, "shop-users", "users", RATE=120, WORKERS=40, URL="http://shop.shop/stock")


@pytest.fixture
def promote(shop: Scene, kubectl: Kubectl, crowd: None) -> Callable[..., Done]:
    """Return the promotion of the shop's canary from 0 % by the requests of its users."""
    document = yaml.safe_load((PROJECT_FOLDER / EXAMPLE / shop.file.name).read_text())
    shop.journal.file.unlink(missing_ok=True)

    def promote(steps: str, command: str = "", *, fails: bool = False, **gate: float) -> Done:
        deploy(kubectl, "shop", "shop-v2", FAIL_PERCENT=0)
        if fails:
            shop.shell(documented("docs/own-service.md", "kubectl set env -n shop deploy/shop-v2 FAIL_PERCENT=5"))
            kubectl("rollout", "status", "-n", "shop", "deploy/shop-v2", "--timeout=60s")
        settings = {
            "weight": 0,
            "steps": [float(step) for step in steps.split(",")],
            **({"gate": gate} if gate else {}),
        }
        document["config"]["waypoint-lab:canary"] = settings
        shop.file.write_text(yaml.safe_dump(document))
        shop.shell(documented("docs/own-service.md", "pulumi config set --path canary.evidence traffic"))
        usual = documented("docs/own-service.md", "lab canary promote --stack shop")
        return shop.run("sh", "-c", command or usual, seconds=240)

    return promote


@pytest.mark.slow
def test_promotion_of_the_shop_by_its_users_sends_no_request(shop: Scene, promote: Callable[..., Done]) -> None:
    began = time.monotonic()
    done = promote("50,100")
    assert done.returncode == 0, done.stderr
    assert "Promoted; at 100 %" in done.stderr
    assert [set(record["evidence"]) for record in records(shop, "decision")] == [{"traffic"}] * 2
    config = shop.config()
    log = access_log.log(config, "waypoint", int(time.monotonic() - began))
    assert {one["agent"] for one in access_log.requests(log, access_log.addresses(config))} == {"shop-user"}


@pytest.mark.slow
def test_promotion_of_the_shop_with_5_percent_failures_rolls_back_before_20_percent(
    shop: Scene, promote: Callable[..., Done]
) -> None:
    steps = "10,20,100"
    command = documented(
        "docs/own-service.md",
        "lab canary promote --stack shop --steps 1,5,20,50,100",
        {"1,5,20,50,100": steps},  # fewer requests are needed
    )
    done = promote(steps, command, fails=True)
    assert done.returncode == 1, done.stderr
    assert "RolledBack; at 0 %" in done.stderr
    assert "requests of users to the canary" in done.stderr
    assert max(record["weight"] for record in records(shop, "decision")) < 20


@pytest.mark.slow
def test_promotion_of_the_shop_with_three_times_the_p99_rolls_back(
    shop: Scene, kubectl: Kubectl, promote: Callable[..., Done]
) -> None:
    deploy(kubectl, "shop", "shop-v1", DELAY_SECONDS=0.3)
    shop.shell(
        documented("examples/shop/README.md", "kubectl set env -n shop deploy/shop-v2 DELAY_SECONDS=0.3", SLOWER)
    )
    kubectl("rollout", "status", "-n", "shop", "deploy/shop-v2", "--timeout=60s")
    try:
        done = promote("50,100", p99Ratio=1.5)
    finally:
        for version in ("v1", "v2"):
            deploy(kubectl, "shop", f"shop-{version}", DELAY_SECONDS=0)
    assert done.returncode == 1, done.stderr
    assert "RolledBack; at 0 %" in done.stderr
    assert "requests of users to the canary were slow" in done.stderr


@pytest.mark.slow
def test_promotion_of_the_shop_without_users_pauses(
    shop: Scene, kubectl: Kubectl, promote: Callable[..., Done]
) -> None:
    shop.shell(documented("examples/shop/README.md", "kubectl scale -n shop-users deploy/users --replicas 0"))
    kubectl("wait", "-n", "shop-users", "pods", "-l", "app=users", "--for=delete", "--timeout=60s")
    command = documented("docs/troubleshooting.md", "lab canary promote --limit 600", {"600": "3"}, more="--stack shop")
    done = promote("20,100", command)
    assert done.returncode == 3, done.stderr
    assert "0 of 0 requests of users to the canary failed" in done.stderr
    assert "which is not a pass; about 391 to the canary are needed if it is healthy; no request passed" in done.stderr
    assert "which serves shop/shop since 20" in done.stderr
    assert "Paused at 20 %" in done.stderr
