"""A job as the protocol shows it: its fields are those of docs/PROTOCOL.md, whatever is stored."""

from __future__ import annotations

from typing import Any

import pytest

from client import protocol
from runner import messages, parsing, records, spec, stored, views
from runner.config import Config
from runner.lifecycle import State
from runner.rows import Attempt, Job, StoredDependency
from runner.users import Account

JOB = "3f2a0000-0000-4000-8000-000000000001"
SUMMARY = {
    "job", "name", "state", "uid", "gid", "user", "submitted_by_uid", "argv", "cwd", "network",
    "pid", "submitted_ns", "started_ns", "ended_ns", "result", "queue", "priority", "attempt",
    "labels", "held_by_uid", "not_before_ns", "deadline_ns", "reserve", "waits_for", "group",
    "group_name", "member", "step", "fate",
}  # fmt: skip


def packed_spec(**request: object) -> bytes:
    args = {"argv": ["sh", b"\xff"], "cwd": "/", "env": {"SECRET": "hunter2"}, **request}
    submit = parsing.parse(messages.Submit, args)
    return spec.pack(spec.build(JOB, submit, Account(1000, 100, (), "alice"), Config()))


def job(**changes: object) -> Job:
    fields: dict[str, Any] = {
        "seq": 1, "id": JOB, "submitted_by_uid": 1001, "uid": 1000, "gid": 100, "name": "build",
        "state": State.RUNNING, "submitted_ns": 5, "started_ns": 6, "ended_ns": None,
        "boot_id": "b", "monitor_pid": 4242, "limits": None, "reason": None, "result": None,
        "spec": packed_spec(),
    }  # fmt: skip
    return Job(**{**fields, **changes})


def test_a_summary_has_the_fields_of_the_protocol() -> None:
    shown = views.summary(job())
    assert set(shown) == SUMMARY
    assert shown["argv"] == ["sh", b"\xff"]
    assert (shown["state"], shown["user"], shown["pid"]) == ("running", "alice", 4242)
    assert (shown["uid"], shown["submitted_by_uid"]) == (1000, 1001)


def test_a_job_of_a_group_says_where_it_is_in_it_and_what_became_of_it() -> None:
    place = views.Place("release", "test.1")
    shown = views.summary(job(group_id="g", member=4, fate="skipped"), place=place)
    assert {name: shown[name] for name in ("group", "group_name", "member", "step", "fate")} == {
        "group": "g", "group_name": "release", "member": 4, "step": "test.1", "fate": "skipped",
    }  # fmt: skip
    alone = views.summary(job())
    assert [alone[name] for name in ("group", "group_name", "step", "fate")] == [None] * 4


def test_a_status_has_limits_and_usage_besides() -> None:
    shown = views.status(job(), {"pids": 3})
    assert set(shown) == SUMMARY | {
        "limits", "logs", "sandbox", "net", "usage", "retry", "after", "attempts",
        "idempotency_key",
    }  # fmt: skip
    assert shown["usage"] == {"pids": 3}
    assert shown["logs"] == {
        "segment_bytes": 2**24, "keep_bytes": 2**30, "keep_segments": 1024,
        "compression": "none", "on_full": "wait",
    }  # fmt: skip


def test_a_summary_says_where_a_job_waits_and_for_what() -> None:
    row = job(
        state=State.QUEUED, queue="night", priority=-3, attempt=2, held_by_uid=0, not_before_ns=7,
        deadline_ns=8, reserved_millicpus=1500, reserved_memory_bytes=2**30,
    )  # fmt: skip
    shown = views.summary(row, labels={"team": "a"}, waits_for="held")
    assert {name: shown[name] for name in shown if name in SUMMARY_OF_THE_QUEUE} == {
        "queue": "night", "priority": -3, "attempt": 2, "labels": {"team": "a"},
        "held_by_uid": 0, "not_before_ns": 7, "deadline_ns": 8,
        "reserve": {"millicpus": 1500, "memory_bytes": 2**30}, "waits_for": "held",
    }  # fmt: skip
    plain = views.summary(job())
    assert (plain["queue"], plain["labels"], plain["waits_for"]) == ("default", {}, None)


SUMMARY_OF_THE_QUEUE = {
    "queue", "priority", "attempt", "labels", "held_by_uid", "not_before_ns", "deadline_ns",
    "reserve", "waits_for",
}  # fmt: skip


def test_a_status_says_what_it_comes_after_and_what_became_of_earlier_attempts() -> None:
    result = {**dict.fromkeys(stored.RESULT_FIELDS), "reason": "exit", "exit_status": 3}
    retry = {"limit": 2, "rules": [{"reason": "oom", "limit": 1}]}
    shown = views.status(
        job(spec=packed_spec(retry=retry), idempotency_key="k"),
        None,
        labels={"a": ""},
        after=[StoredDependency("other", "fail", met=True), StoredDependency("x", "ok", met=False)],
        steps={"x": "build"},
        attempts=[
            Attempt(1, 5, 6, "exit", records.pack(result), None),
            Attempt(2, None, 7, "lost", b"garbled", None),
        ],
    )
    assert shown["after"] == [
        {"job": "other", "step": None, "on": "fail", "met": True},
        {"job": "x", "step": "build", "on": "ok", "met": False},
    ]
    first, second = shown["attempts"]
    assert first == {"attempt": 1, "started_ns": 5, "ended_ns": 6, "result": result}
    assert (second["started_ns"], second["result"]["reason"]) == (None, "lost")
    assert (shown["labels"], shown["idempotency_key"]) == ({"a": ""}, "k")
    assert shown["retry"]["limit"] == 2
    assert shown["retry"]["rules"][0]["reason"] == "oom"
    protocol.encode_frame(shown)


@pytest.mark.parametrize("state", list(State))
def test_the_environment_is_never_shown(state: State) -> None:
    frame = protocol.encode_frame(views.status(job(state=state), None))
    assert b"hunter2" not in frame


def test_before_the_kernel_has_read_them_back_the_limits_are_those_that_were_asked_for() -> None:
    limits = {"pids_max": 7, "io": [{"path": b"/\xff", "read_bytes_per_second": 4096}]}
    shown = views.status(job(spec=packed_spec(limits=limits)), None)
    assert shown["limits"] == limits


def test_limits_as_the_kernel_read_them_back_win() -> None:
    applied = {"pids_max": 6, "io": [{"path": b"/a", "devices": ["8:0"]}]}
    shown = views.status(job(limits=records.pack(applied)), None)
    assert shown["limits"] == {"pids_max": 6, "io": [{"path": "/a", "devices": ["8:0"]}]}


def test_surroundings_are_shown_in_the_shapes_of_a_request() -> None:
    sandbox = {
        "filesystem": "readonly", "writable": ["/w"], "readable": [b"/\xff"],
        "binds": [{"source": "/a", "target": "/b", "read_only": True}],
        "tmpfs": [{"path": "/t", "size_bytes": 8192}], "secrets": [{"name": "k", "path": "/s"}],
    }  # fmt: skip
    publish = [{"host_address": None, "host_port": 8080, "port": 80, "protocol": "tcp"}]
    spec = packed_spec(sandbox=sandbox, network="private", net={"publish": publish})
    shown = views.status(job(spec=spec), None, "10.0.0.2")
    assert {name: shown["sandbox"][name] for name in sandbox} == sandbox
    assert "seccomp_program" not in shown["sandbox"]
    assert shown["sandbox"]["seccomp"] == "default"
    assert shown["net"] == {
        "name": None, "allow_egress": None, "address": "10.0.0.2", "publish": publish,
    }  # fmt: skip
    protocol.encode_frame(shown)


def test_refused_system_calls_are_shown_by_their_names() -> None:
    result = {**dict.fromkeys(stored.RESULT_FIELDS), "reason": "exit", "exit_status": 0}
    packed = records.pack({**result, "denied": [[165, 3]]})
    shown = views.summary(job(state=State.ENDED, result=packed))
    (denied,) = shown["result"]["denied"]
    assert denied["count"] == 3
    assert denied["syscall"].isidentifier()


def test_a_result_is_shown_without_the_version_of_its_record() -> None:
    result = {**dict.fromkeys(stored.RESULT_FIELDS), "reason": "exit", "exit_status": 0}
    shown = views.summary(job(state=State.ENDED, result=records.pack(result)))
    assert shown["result"] == result
    assert shown["state"] == "ended"


@pytest.mark.parametrize("damaged", [b"", b"\x80", records.pack({"a": 1})[:-1]])
def test_a_damaged_spec_does_not_hide_the_job(damaged: bytes) -> None:
    shown = views.status(job(spec=damaged), None)
    assert (shown["job"], shown["user"], shown["limits"]) == (JOB, "1000", {})
    protocol.encode_frame(shown)


@pytest.mark.parametrize("damaged", [b"", b"\x80", records.pack({"a": 1})[:-1]])
def test_a_damaged_result_does_not_hide_the_job_nor_the_others_of_its_list(damaged: bytes) -> None:
    shown = views.summary(job(state=State.ENDED, result=damaged))
    assert (shown["job"], shown["state"]) == (JOB, "ended")
    protocol.encode_frame(shown)
