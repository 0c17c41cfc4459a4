"""What a schedule runs: kept as it was asked for, and run with no more than its user has now."""

from __future__ import annotations

import grp
import os
import pwd
from types import SimpleNamespace
from typing import Any

import pytest

from runner import schedule_template
from runner.messages import Submit
from runner.parsing import parse
from runner.policy import Peer
from runner.refusal import Refusal
from runner.schedule_rows import NewSchedule, Schedule
from runner.schedule_template import pack, peer_now, read, run_of, unpack
from runner.schedule_views import status, summary

ALICE = Peer(uid=1000, gid=100, groups=frozenset({100, 27}), pid=7)
FIELDS: dict[str, Any] = {
    "argv": ["make", b"\xff"], "cwd": b"/\xfe", "env": {"TOKEN": "hunter2", b"\xff": b"\xfd"},
    "limits": {"memory_max_bytes": 2**30},
    "labels": {"team": "a"}, "retry": {"limit": 2}, "delay_seconds": 1.5,
}  # fmt: skip


def fields(**more: Any) -> dict[str, Any]:
    limits = {"memory_max_bytes": 2**30, "rlimits": {"nofile": [1, None]}}
    return {**FIELDS, "limits": limits, **more}


def schedule(**more: Any) -> Schedule:
    given: dict[str, Any] = {
        "seq": 1, "id": "5c0e81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d", "submitted_by_uid": 1000,
        "name": None, "every": "@daily", "zone": None, "missed": "once", "overlap": "allow",
        "paused": False, "created_ns": 1, "handled_ns": 1, "last_job": None, "last_ns": None,
        "last_error": None, "runs": 0, "failed": 0, "skipped": 0,
    }  # fmt: skip
    return Schedule(**{**given, **more})


def refused(given: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        read(given)
    return caught.value.to_wire()


def test_what_was_asked_for_comes_back_with_its_bytes_and_the_groups() -> None:
    request = read(fields())
    template, again = unpack(pack(request, ALICE))
    assert again == request == parse(Submit, fields())
    assert (template.gid, template.groups) == (100, [27, 100])


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"argv": []}, "submit.argv"),
        ({"limits": {"memory_max_bytes": 1}}, "submit.limits.memory_max_bytes"),
        ({"unknown": 1}, "submit.unknown"),
        ({"after": [{"job": "abcd"}]}, "submit.after"),
        ({"not_before_ns": 1, "delay_seconds": None}, "submit.not_before_ns"),
        ({"deadline_ns": 1}, "submit.deadline_ns"),
        ({"idempotency_key": "k"}, "submit.idempotency_key"),
        ({"labels": {"schedule": "x"}}, "submit.labels"),
    ],
)
def test_what_is_wrong_or_can_be_only_once_is_refused_by_its_field(
    more: dict[str, Any], field: str
) -> None:
    assert refused(fields(**more))["field"] == field


def test_the_value_of_a_variable_is_in_no_refusal_and_no_repr() -> None:
    error = refused(fields(env={"TOKEN": ["hunter2"]}))
    assert "hunter2" not in str(error)
    template, _ = unpack(pack(read(fields()), ALICE))
    assert "hunter2" not in repr(template)


def test_what_is_kept_and_no_template_is_refused_as_damage() -> None:
    for data in (b"", b"\xc1", b"\x80", b"\x81\xa6submit\x01"):
        with pytest.raises(Refusal, match="damaged"):
            unpack(data)


def test_what_a_newer_daemon_does_not_know_any_more_is_refused_and_nothing_else_happens() -> None:
    data = pack(read(fields()), ALICE).replace(b"umask", b"xmask")
    with pytest.raises(Refusal) as caught:
        unpack(data)
    assert caught.value.fields["field"] == "submit.xmask"


def test_a_run_has_its_key_and_the_label_of_its_schedule() -> None:
    run = run_of(read(fields()), schedule(), "schedule:x:1")
    assert run.labels == {"team": "a", "schedule": "5c0e81c0"}
    assert run.idempotency_key == "schedule:x:1"
    assert run_of(read(fields()), schedule(name="backup"), None).labels["schedule"] == "backup"


# As whom


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """User 1000, of group 100, and the groups that the database gives: to be changed."""
    groups = [100, 27]

    def getpwuid(uid: int) -> Any:
        if uid != 1000:
            raise KeyError(uid)
        return SimpleNamespace(pw_name="alice", pw_gid=100)

    monkeypatch.setattr("runner.users._names", {})
    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    monkeypatch.setattr(os, "getgrouplist", lambda _name, _gid: list(groups))
    return groups


def test_a_user_runs_with_the_groups_that_are_still_there(users: list[int]) -> None:
    assert peer_now(1000, 100, frozenset({27})).groups == {100, 27}
    users.remove(27)
    assert peer_now(1000, 100, frozenset({27})).groups == {100}


def test_nobody_gains_a_group_that_the_process_did_not_have(users: list[int]) -> None:
    users.append(0)
    found = peer_now(1000, 100, frozenset({27}))
    assert found.groups == {100, 27}
    assert (found.uid, found.gid) == (1000, 100)


def test_another_primary_group_is_kept_while_it_is_the_users(users: list[int]) -> None:
    assert peer_now(1000, 27, frozenset({100})).gid == 27
    users.remove(27)
    assert peer_now(1000, 27, frozenset({100})).gid == 100
    with pytest.raises(Refusal, match="neither its own group"):
        peer_now(1000, 27, frozenset())


@pytest.mark.usefixtures("users")
def test_a_user_who_is_gone_runs_nothing() -> None:
    with pytest.raises(Refusal) as caught:
        peer_now(1001, 100, frozenset())
    assert caught.value.code == "not-permitted"


def test_the_database_of_this_host_is_asked() -> None:
    own = pwd.getpwuid(0)
    assert peer_now(0, own.pw_gid, frozenset()).uid == 0
    assert grp.getgrgid(own.pw_gid)


# As it is shown


def test_a_schedule_is_shown_with_what_it_runs_and_without_the_environment() -> None:
    data = pack(read(fields()), ALICE)
    shown = status(schedule(paused=True), [5, 6], data)
    assert shown["argv"] == ["make", b"\xff"]
    assert (shown["next_ns"], shown["next_times_ns"]) == (5, [5, 6])
    assert shown["submit"]["cwd"] == b"/\xfe"
    assert shown["submit"]["retry"]["limit"] == 2
    assert "hunter2" not in str(shown)
    assert not {"env", *schedule_template.ONCE} & shown["submit"].keys()


@pytest.mark.parametrize("data", [None, b"\xc1"])
def test_of_a_damaged_template_the_schedule_is_shown_all_the_same(data: bytes | None) -> None:
    assert summary(schedule(), None, data)["argv"] == ["?"]
    assert status(schedule(), [], data)["submit"] is None


def test_a_new_schedule_has_a_repr_without_its_template() -> None:
    new = NewSchedule(
        id="x", submitted_by_uid=1, name=None, every="", zone=None, missed="once",
        overlap="allow", paused=False, created_ns=1, template=b"secret",
    )  # fmt: skip
    assert "secret" not in repr(new)
