"""One promotion, target by target: an edit of the stack's config, a real `pulumi up`, a measurement, a decision."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.pairs import Arm, Stream
from waypoint_lab.measure.probe import ProbeError, kubectl
from waypoint_lab.pulumi_cli import UpdateError, Updates
from waypoint_lab.rollout.analysis import Evidence, Rules, Verdict
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.state import Result, Standing, Target, plan, standing

POLL_SECONDS = 0.2
API_SECONDS = 300.0  # how long a lost API server may take to return before the way back is left to the next run
BACK_TRIES = 3  # of an up on the way back while the API server is there


class PromoteError(Exception):
    """The promotion cannot be done, or not go on; one line."""


@dataclass(frozen=True)
class Ways:
    """How it speaks with the outside: `say` a line; what `asked` to stop, or nothing; who is to `approve` a step."""

    say: Callable[[str], None]
    asked: Callable[[], str]
    approve: Callable[[Target], Verdict] | None = None


FAILURES = (UpdateError, ProbeError, envoy_config.NotLive, ConfigError, subprocess.SubprocessError)


class Promotion:
    """The promotion of one stack's canary; its journal is locked by whoever calls."""

    def __init__(self, journal: Journal, updates: Updates, rules: Rules, ways: Ways) -> None:
        """`rules.healthy_back` is of a whole promotion: each step gets its part of it."""
        self.journal, self.updates, self.rules, self.ways = journal, updates, rules, ways

    def state(self) -> Standing:
        """Where the newest promotion stands."""
        found = standing(self.journal.records())
        assert found
        return found

    def begin(self, steps: Sequence[float], cohort: str) -> Standing | None:
        """Starts a new one from what the stack's file says; None where nothing is left to promote. Raises PromoteError.

        First an up of the stack as it is: what does not work without a promotion must not be blamed on the canary.
        """
        config = self.updates.config()
        start = Target.of(config)
        targets = plan(start, steps, cohort)
        if not targets:
            return None
        self.ways.say(f"an up at {start} first, to start from what the stack declares")
        try:
            self.updates.forward()
            envoy_config.wait(config)
            envoy_config.wait_for_traffic(config)
        except FAILURES as error:
            raise PromoteError(f"the stack does not come up as it is, so nothing was begun: {error}") from None
        identity = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        documents = [target.document() for target in targets]
        self.journal.append("start", identity, **{"from": start.document()}, targets=documents)
        return self.state()

    def walk(self) -> tuple[Verdict, Standing]:
        """Goes on from where it stands: to the end, to a hold, or back. Raises PromoteError where it cannot."""
        while True:
            state = self.state()
            if state.going_back:
                return Verdict.BACK, self.back(state)
            if state.passed == len(state.targets):
                self._note("end", state, result=Result.PROMOTED, **state.good.document())
                return Verdict.GO, self.state()
            verdict = self._step(state)
            if verdict is Verdict.HOLD:
                return verdict, self.state()

    def _note(self, kind: str, state: Standing, **more: Any) -> None:
        self.journal.append(kind, state.promotion, **more)

    def _step(self, state: Standing) -> Verdict:
        target = state.targets[state.passed]
        began = time.monotonic()
        evidence: Evidence | None = None
        try:
            verdict, why = self._allowed(state, target)
            if verdict is Verdict.GO:
                self._note("try", state, **target.document())
                config = self.updates.set(target.settings())
                up_seconds = self.updates.forward()
                envoy_config.wait(config)
                self._note("measure", state, **target.document(), up_seconds=round(up_seconds, 2))
                self.ways.say(f"{target}: applied in {up_seconds:.1f} s, measuring")
                evidence = Evidence(self._rules(state, config))
                verdict, why = self._measure(config, target, evidence)
        except FAILURES as error:
            verdict, why = Verdict.BACK, str(error)
        if asked := self.ways.asked():
            verdict, why = Verdict.BACK, f"told to stop by {asked}"
        found = {"evidence": evidence.document()} if evidence else {}
        seconds = round(time.monotonic() - began, 2)
        self._note("decision", state, **target.document(), verdict=verdict, why=why, seconds=seconds, **found)
        self.ways.say(f"{target}: {verdict}: {why}")
        return verdict

    def _allowed(self, state: Standing, target: Target) -> tuple[Verdict, str]:
        """Whether the step may be tried: nobody else has moved the weight, and whoever is to approve it does."""
        config = self.updates.config()
        said = Target.of(config)
        if said not in (state.good, target):
            raise PromoteError(
                f"the stack's config says {said}, but the promotion stands at {state.good}: "
                f"put that back, or end the promotion with `lab rollback`"
            )
        if not config.stages.canary:
            raise PromoteError("stages.canary is off: turn it on, or end the promotion with `lab rollback`")
        if self.ways.approve is None or state.trying:
            return Verdict.GO, ""
        return self.ways.approve(target), "said the person who was asked"

    def _rules(self, state: Standing, config: LabConfig) -> Rules:
        own = replace(self.rules, healthy_back=self.rules.healthy_back / len(state.targets))
        if config.canary.gate and config.canary.gate.success_rate is not None:
            own = replace(own, floor=config.canary.gate.success_rate / 100)
        if config.canary.gate and config.canary.gate.p99_seconds is not None:
            own = replace(own, slow_seconds=config.canary.gate.p99_seconds)
        return own

    def _measure(self, config: LabConfig, target: Target, evidence: Evidence) -> tuple[Verdict, str]:
        began = time.monotonic()
        name, _, value = target.cohort.partition("=")
        backends = config.app.backends
        services = (backends.canary.service, backends.baseline.service, config.app.service)
        hosts = [f"{service}.{config.app.namespace}" for service in services]
        users = Arm("users", hosts[2], {name: value} if name else {})
        arms = [Arm("canary", hosts[0]), Arm("baseline", hosts[1]), users]
        with Stream(config, arms, self.rules.most_seconds + 30) as stream:
            while True:
                rounds = stream.read(POLL_SECONDS)
                if rounds is None:
                    raise ProbeError("the measuring requests ended too early")
                for one in rounds:
                    evidence.add(one)
                if found := evidence.verdict(time.monotonic() - began):
                    return found
                if asked := self.ways.asked():
                    return Verdict.BACK, f"told to stop by {asked}"

    def back(self, state: Standing) -> Standing:
        """Puts the last good target back, by Pulumi, once the API server answers. Raises PromoteError."""
        good = state.good
        self.ways.say(f"going back to {good}: {state.why}")
        began, tries, told, lost = time.monotonic(), 0, False, ""
        while True:
            why = lost
            if not lost:
                try:
                    config = self.updates.set(good.settings())
                    self.updates.back()
                    envoy_config.wait(config)
                    break
                except FAILURES as error:
                    why = str(error)
            lost = self._api_problem()  # asked only now: the way back is to be as fast as it can be
            tries += not lost
            if tries >= BACK_TRIES or time.monotonic() - began > API_SECONDS:
                raise PromoteError(
                    f"cannot go back to {good} yet: {why}; run `lab promote` again, and it goes on with that"
                )
            if lost and not told:
                self.ways.say(f"waiting up to {API_SECONDS:.0f} s for the API server: {lost}")
                told = True
            time.sleep(POLL_SECONDS)
        self._note("end", state, result=Result.BACK, **good.document(), seconds=round(time.monotonic() - began, 2))
        self.ways.say(f"back at {good} after {time.monotonic() - began:.1f} s")
        return self.state()

    def _api_problem(self) -> str:
        """Why the API server does not answer; empty where it does."""
        command = kubectl(self.updates.config(), "--request-timeout=5s", "get", "--raw=/readyz")
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        except subprocess.TimeoutExpired:
            return "no answer within 20 s"
        return (done.stderr.strip().splitlines() or ["kubectl failed"])[-1] if done.returncode else ""
