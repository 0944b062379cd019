"""All cases of the rules."""

from tests.policies import (
    cases_backends,
    cases_canary,
    cases_canary_policies,
    cases_enforcement,
    cases_faults,
    cases_reductions,
    cases_routes,
    cases_services,
)

FILES = (
    cases_routes,
    cases_enforcement,
    cases_services,
    cases_faults,
    cases_canary,
    cases_canary_policies,
    cases_reductions,
    cases_backends,
)
CASES = [case for file in FILES for part in file.PARTS for case in part()]
