"""Who a certificate is, and what it may ask for: denial first."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import Certificate
from gateway.policy import Act, Binding, Bounds, Caller, Denied, Policy, Submitted
from gateway.scope import Scope
from gateway.verbs import ADMIN, ROLES, SUBMITTER, VERBS, VIEWER, allowed_to
from tests.unit.gateway.recording import ALICE, binding


def certificate(*uris: str, name: str | None = None) -> Certificate:
    return Certificate(uris, name, "3f", "CN=ca", 2**33, "ab")


def caller(*roles: str, **more: object) -> Caller:
    return Policy([binding(*roles, **more)]).caller(ALICE)  # type: ignore[arg-type]


def denied(who: Caller, op: str, **more: object) -> str:
    decision = Policy().decide(who, msgspec.convert({"op": op, **more}, Act))
    assert not decision.allowed
    return f"{decision.code} {decision.field}: {decision.why}"


def allows(who: Caller, op: str, **more: object) -> bool:
    return Policy().decide(who, msgspec.convert({"op": op, **more}, Act)).allowed


# Who


def test_nobody_is_anybody_in_an_empty_policy() -> None:
    with pytest.raises(Denied, match="no binding"):
        Policy().caller(ALICE)


@pytest.mark.parametrize(
    "subject", ["CN=bob", "CN=alic", "CN=alicex", "cn=alice", "CN=Alice", "ALICE*"]
)
def test_another_subject_is_nobody(subject: str) -> None:
    with pytest.raises(Denied):
        Policy([binding(VIEWER, match=subject)]).caller(ALICE)


def test_a_star_at_the_end_means_whatever_follows() -> None:
    policy = Policy([binding(VIEWER, match="spiffe://x/ci/*")])
    assert policy.caller(certificate("spiffe://x/ci/7")).user == "alice"
    for other in ("spiffe://x/ci", "spiffe://y/ci/7", "xspiffe://x/ci/7"):
        with pytest.raises(Denied):
            policy.caller(certificate(other))


def test_only_the_first_uri_counts() -> None:
    policy = Policy([binding(VIEWER, match="spiffe://x/b")])
    with pytest.raises(Denied):
        policy.caller(certificate("spiffe://x/a", "spiffe://x/b", name="alice"))


def test_a_uri_that_looks_like_a_common_name_is_nobody() -> None:
    for match in ("CN=alice", "*"):
        with pytest.raises(Denied, match="looks like a common name"):
            Policy([binding(ADMIN, match=match)]).caller(certificate("CN=alice"))


def test_the_first_binding_that_fits_counts() -> None:
    first = binding(VIEWER, match="CN=alice", user="one")
    policy = Policy([first, binding(ADMIN, match="CN=*", user="two")])
    assert policy.caller(ALICE).user == "one"
    assert policy.caller(ALICE).roles == {VIEWER}
    assert policy.caller(certificate(name="bob")).user == "two"
    assert policy.bounds(ALICE) == first.bounds


def test_it_acts_for_its_own_user_and_those_that_are_named() -> None:
    policy = Policy([binding(VIEWER, users=("nightly",))])
    assert policy.caller(ALICE).user == "alice"
    assert policy.caller(ALICE, "alice").user == "alice"
    assert policy.caller(ALICE, "nightly").user == "nightly"
    for other in ("bob", "", "Alice", "alice\n", "nightly "):
        with pytest.raises(Denied, match="may not act for"):
            policy.caller(ALICE, other)


@pytest.mark.parametrize("root", ["root", "0"])
def test_nobody_acts_for_root(root: str) -> None:
    with pytest.raises(Denied, match="root"):
        Policy([binding(ADMIN, users=(root,))]).caller(ALICE, root)
    with pytest.raises(Denied, match="root"):
        Policy([binding(ADMIN, user=root)]).caller(ALICE)


# What


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("op", sorted(VERBS))
def test_each_role_may_what_the_table_says(role: str, op: str) -> None:
    assert allows(caller(role), op) is (op in allowed_to(role))


@given(st.text())
def test_what_is_no_operation_nobody_may(op: str) -> None:
    if op not in VERBS:
        assert not allows(caller(*ROLES), op)


def test_without_a_role_nothing_is_allowed() -> None:
    assert not any(allows(caller(), op) for op in VERBS)
    assert not any(allows(caller("root"), op) for op in VERBS)


def test_single_operations_are_added_and_taken_away() -> None:
    who = caller(VIEWER, verbs=frozenset({"stop", "prune"}), not_verbs=frozenset({"prune", "logs"}))
    assert allows(who, "stop")
    assert allows(who, "status")
    assert "not-permitted" in denied(who, "prune")
    assert "not-permitted" in denied(who, "logs")


def test_only_an_admin_names_another_user_or_a_group() -> None:
    who = caller(SUBMITTER)
    assert "submit.user" in denied(who, "schedule", submitted=[{"at": "submit.", "user": "bob"}])
    assert "user: " in denied(who, "submit", submitted=[{"user": 1000}])
    assert "group: " in denied(who, "submit", submitted=[{"group": "staff"}])
    assert "select.user" in denied(who, "list", users=[["select.user", "bob"]])
    assert allows(who, "submit", submitted=[{"user": "alice"}])
    assert allows(caller(ADMIN), "submit", submitted=[{"user": "bob", "group": "staff"}])
    assert allows(caller(ADMIN), "list", users=[["select.user", "bob"]])


def test_a_submission_stays_within_queues_and_names() -> None:
    scope = Scope(queues=("ci",), names=("ci-*",))
    who = caller(ADMIN, scope=scope)
    fine = {"submitted": [{"queue": "ci"}], "names": [["name", "ci-1"]]}
    assert allows(who, "submit", **fine)
    assert "queue: the queue default is none of CN=alice's: ci" in denied(
        who, "submit", submitted=[{}], names=[["name", "ci-1"]]
    )
    said = denied(who, "submit", **(fine | {"names": [["name", None]]}))
    assert "a name is needed that CN=alice may use: ci-*" in said
    assert "prod is no name" in denied(who, "submit", **(fine | {"names": [["name", "prod"]]}))
    second = {"at": "steps[1].submit.", "queue": "prod"}
    assert "steps[1].submit.queue" in denied(
        who, "submit_flow", **(fine | {"submitted": [{"queue": "ci"}, second]})
    )
    net = {"queue": "ci", "network": "prod-net"}
    assert "net.name" in denied(who, "submit", **(fine | {"submitted": [net]}))


def test_a_job_is_not_moved_out_of_the_queues() -> None:
    who = caller(ADMIN, scope=Scope(queues=("ci",)))
    assert "not-permitted queue" in denied(who, "move", queues=[["queue", "prod"]])
    assert allows(who, "move", queues=[["queue", "ci"]])


def test_commands_submissions_and_priorities_are_bounded() -> None:
    bounds = Bounds(max_command_bytes=10, max_submission_bytes=100, max_priority=5)
    who = caller(ADMIN, bounds=bounds)
    assert "invalid-argument argv" in denied(who, "exec", command_bytes=11)
    assert "11 bytes; at most 10" in denied(who, "submit", submitted=[{"command_bytes": 11}])
    assert "invalid-argument submit" in denied(who, "submit", request_bytes=101)
    assert "at most 5" in denied(who, "update", priority=6)
    assert "priority: " in denied(who, "submit", submitted=[{"priority": 6}])
    fine = {"command_bytes": 10, "priority": 5}
    assert allows(who, "submit", submitted=[fine], request_bytes=100)


def test_the_gateways_own_bound_is_for_bindings_without_one() -> None:
    assert not allows(caller(ADMIN), "exec", command_bytes=6, max_command_bytes=5)
    wide = caller(ADMIN, bounds=Bounds(max_command_bytes=10))
    assert allows(wide, "exec", command_bytes=6, max_command_bytes=5)


@given(st.sampled_from(ROLES), st.sampled_from(sorted(VERBS)), st.text(), st.text())
def test_a_decision_is_one_sentence_without_control_characters(
    role: str, op: str, queue: str, name: str
) -> None:
    who = caller(role, scope=Scope(queues=("a",), names=("b",)))
    act = Act(op=op, submitted=(Submitted(queue=queue),), names=(("name", name),))
    decision = Policy().decide(who, act)
    assert decision.why.isprintable()
    assert decision.allowed is (decision.why == "")


matches = st.text("ab*", min_size=1, max_size=4).filter(lambda text: "*" not in text[:-1])


@given(st.lists(matches, max_size=6), st.text("ab", min_size=1, max_size=5))
def test_the_first_that_fits_is_found_however_it_is_looked_for(found: list[str], cn: str) -> None:
    policy = Policy([binding(VIEWER, match=f"CN={each}") for each in found])
    subject = f"CN={cn}"
    expected = next((each for each in policy.bindings if each.fits(subject)), None)
    if expected is None:
        with pytest.raises(Denied):
            policy.caller(certificate(name=cn))
    else:
        assert policy._binding(certificate(name=cn)) is expected


@given(st.lists(matches, max_size=5), st.lists(st.text("ab", max_size=4), max_size=8))
def test_a_binding_that_is_hidden_never_counts(found: list[str], subjects: list[str]) -> None:
    policy = Policy([Binding(match=each, user="a") for each in found])
    hidden = policy.hidden()
    if hidden is not None:
        number, earlier = hidden
        late, early = policy.bindings[number], policy.bindings[earlier]
        assert earlier < number
        assert all(early.fits(subject) for subject in subjects if late.fits(subject))


@pytest.mark.parametrize(
    ("found", "hidden"),
    [
        (["CN=a*", "CN=ab"], (1, 0)),
        (["CN=a*", "CN=ab*"], (1, 0)),
        (["x", "*", "CN=a"], (2, 1)),
        (["CN=a", "CN=a"], (1, 0)),
        (["CN=ab*", "CN=a*"], None),
        (["CN=a", "CN=a*"], None),
        (["CN=a", "CN=b"], None),
    ],
)
def test_which_binding_is_hidden(found: list[str], hidden: tuple[int, int] | None) -> None:
    assert Policy([Binding(match=each, user="a") for each in found]).hidden() == hidden


def test_a_subject_that_ends_in_a_star_is_only_itself() -> None:
    policy = Policy([binding(VIEWER, match="CN=a*", user="open"), binding(VIEWER, match="CN=b*")])
    assert policy.caller(certificate(name="a*")).user == "open"
    with pytest.raises(Denied):
        policy.caller(certificate(name="*"))
