"""Error rate of a promotion's step whose route alone fails, from simulated steps."""

import random

from waypoint_lab.measure.client import Answer
from waypoint_lab.rollout.analysis import ProbeEvidence, StepDecision, Thresholds

OK, BAD = Answer(200, seconds=0.01), Answer(503, seconds=0.01)
RULES = Thresholds(0.02, 0.01, 0.01)


def test_decide_route_beyond_the_margin_promotes_at_most_as_stated() -> None:
    source, promoted, runs = random.Random(7), 0, 200
    for _ in range(runs):
        evidence = ProbeEvidence(RULES)
        while evidence.rounds < 600 and not (found := evidence.decide(1.0)):
            evidence.add((OK, OK, BAD if source.random() < 0.03 else OK))
        promoted += bool(found) and found[0] is StepDecision.PROMOTE
    assert promoted <= 0.01 * runs + 3  # of 2 that are expected at most
