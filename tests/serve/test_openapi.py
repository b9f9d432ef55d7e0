"""The server does what its own description says, whatever follows from it."""

from __future__ import annotations

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving import BASE, FIRST, SECOND
from trimtab.serve.openapi import describe

CASES = 20
schema = schemathesis.openapi.from_dict(describe([BASE, FIRST, SECOND]))


@schema.parametrize()
@hypothesis.settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_server_keeps_to_its_description(case, server):
    """A schema cannot say which prompts fit the window, so what it allows may still be refused: with a 4xx."""
    case.call_and_validate(base_url=server.url, timeout=20, excluded_checks=[positive_data_acceptance])
