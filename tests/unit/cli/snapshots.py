"""Snapshots for the live view."""

from msgspec.structs import replace

from waypoint_lab.live.model import (
    BackendTraffic,
    Change,
    Estimate,
    Evidence,
    Fault,
    PolicySummary,
    PromotionProgress,
    Service,
    TrafficSnapshot,
)

NOW = 1795676343.0
SHARE, ALL = Estimate(value=0.19, low=0.16, high=0.22), Estimate(value=1.0, low=0.98, high=1.0)
BASELINE = BackendTraffic(
    name="reviews-baseline", namespace="n", port=9080, role="baseline", weight=80.0, live_weight=80.0
)
CANARY = BackendTraffic(
    name="reviews-stable",
    namespace="n",
    port=9080,
    role="canary",
    weight=20.0,
    live_weight=20.0,
    requests=66,
    share=SHARE,
    rate=6.6,
    success=ALL,
    p50_seconds=0.004,
    p99_seconds=1.25,
)
OTHER = Service(name="ratings", namespace="n", port=9080, requests=5, backends=(replace(BASELINE, name="ratings"),))
SERVICE = Service(
    name="reviews",
    namespace="n",
    port=9080,
    requests=347,
    rate=34.7,
    own_answers={"503 FI": 12},
    backends=(BASELINE, CANARY),
)
PROBE = Evidence(
    source="probe",
    requests={"canary": 812, "baseline": 812},
    failed={"canary": 3, "baseline": 0},
    against_healthy=0.4,
    against_bad=31.0,
    needed_bad=1000.0,
    needed_healthy=100.0,
    text="canary 3 of 812 failed, baseline 0 of 812 failed",
)
PROMOTION = PromotionProgress(
    name="p",
    phase="Progressing",
    step="20 %",
    number=3,
    weight=20.0,
    steps=(1.0, 5.0, 20.0, 50.0, 100.0),
    passed=2,
    running=True,
    waits_for="evidence of the probe",
    since=NOW - 4,
    thresholds={"margin": "2 %", "limit": "120 s"},
    evidence=(PROBE,),
)
QUIET = TrafficSnapshot(
    time=NOW, stack="dev", namespace="bookinfo-backends", window_seconds=9.6, services=(SERVICE, OTHER)
)
BUSY = replace(
    QUIET,
    faults=tuple(
        Fault(service="reviews", at="waypoint", kind="abort", text=f"abort {n}", object="V f", until=NOW + 30)
        for n in range(4)
    ),
    policies=(
        PolicySummary(name="get", namespace="n", service="reviews", action="ALLOW", text="ALLOW GET to reviews"),
    ),
    services=(SERVICE, *(replace(OTHER, name=f"other-{n}") for n in range(30))),
    changes=tuple(Change(time=NOW - n, kind="live", text=f"a change with a long text {'x' * 80}") for n in range(50)),
    promotion=PROMOTION,
    problem="no permission " * 20,
)
