"""The table of operations is that of runnerd, and the documents show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.verbs import ADMIN, OPERATOR, ROLES, SUBMITTER, VERBS, VIEWER, allowed_to, table
from runner.server.handlers import HANDLERS

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "GATEWAY-POLICY.md"


def test_each_operation_of_runnerd_was_decided_on() -> None:
    assert set(VERBS) == set(HANDLERS)


def test_the_document_shows_the_table_as_it_is() -> None:
    assert table() in DOCUMENT.read_text(encoding="utf-8")


def test_whoever_only_looks_changes_nothing() -> None:
    assert {op for op in allowed_to(VIEWER) if VERBS[op].writes} == set()
    assert all(op in allowed_to(role) for op in allowed_to(VIEWER) for role in ROLES)


def test_each_role_may_what_the_one_before_it_may() -> None:
    assert allowed_to(VIEWER) < allowed_to(OPERATOR) < allowed_to(SUBMITTER) < allowed_to(ADMIN)
    assert allowed_to(ADMIN) == set(VERBS)


def test_an_operator_runs_nothing_of_its_own() -> None:
    own = {"submit", "submit_array", "submit_flow", "schedule", "exec"}
    assert allowed_to(OPERATOR).isdisjoint(own)
    assert own < allowed_to(SUBMITTER)


@pytest.mark.parametrize("op", ["drain", "prune", "queue", "stats"])
def test_what_concerns_everybody_is_for_admins(op: str) -> None:
    assert VERBS[op].roles == {ADMIN}


def test_no_role_but_the_four_may_anything() -> None:
    assert allowed_to("root") == allowed_to("") == set()


def test_what_the_transport_does_for_itself_is_no_operation() -> None:
    assert {"hello", "credit", "cancel", "signal"}.isdisjoint(VERBS)
