"""What a hook runs: nothing but what its owner could, told of the change by its environment."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import hook_program, records
from runner.config_queues import HOOKS_QUEUE
from runner.hook_rows import About, Hook, HookCall
from runner.hook_template import facts, keys_of, new_hooks, rfc3339, run_of, shown_hooks, unpack
from runner.messages import Submit
from runner.parsing import parse
from runner.policy import Peer
from runner.refusal import Refusal

ALICE = Peer(uid=1000, gid=100, groups=frozenset({100, 27}), pid=7)
JOB = str(uuid.UUID(int=2**127))
RESULT = records.pack({
    "reason": "exit", "exit_status": 3, "exit_code": 3, **dict.fromkeys((
        "signal", "detail", "stopped_by_uid", "wall_ns", "cpu_usec", "cpu_user_usec",
        "cpu_system_usec", "memory_peak_bytes", "oom_kills", "pids_peak", "pids_max_hits",
        "io_read_bytes", "io_write_bytes", "log_bytes",
    )),
})  # fmt: skip


def owner(*hooks: dict[str, Any], **more: Any) -> Submit:
    fields = {
        "argv": ["make"], "cwd": "/src", "umask": 0o077, "env": {"A": "1", "RUNNERD_HOOK_X": "no"},
        "name": "build", "priority": 7, "labels": {"a": "b"}, "limits": {"cpu_max_millicpus": 10},
    }  # fmt: skip
    return parse(Submit, {**fields, "hooks": list(hooks), **more})


def call_of(template: bytes, **more: Any) -> HookCall:
    about = About(name="build", state="ended", reason="exit", result=RESULT, attempt=2, is_ok=False)
    given: dict[str, Any] = {
        "seq": 9, "owner_id": JOB, "number": 0, "event": "fail",
        "time_ns": 1_800_000_000_123_456_789, "uid": 1000, "about": about, "template": template,
    }  # fmt: skip
    return HookCall(**{**given, **more})


def made(request: Submit, **more: Any) -> Submit:
    (hook,) = new_hooks(request.hooks, request, ALICE)
    return run_of(call_of(hook.template, **more), *unpack(hook.template))


COMMAND = {"on": ["fail"], "argv": ["mail", b"\xff"]}
URL = "https://u:hunter2@example.org/x?token=hunter3"
ADDRESS = {"on": ["fail"], "url": URL}


def test_a_hook_has_its_jobs_user_place_and_environment_and_limits_of_its_own() -> None:
    run = made(owner({**COMMAND, "timeout_seconds": 5, "memory_max_bytes": 2**24, "retries": 2}))
    assert run.argv == [b"mail", b"\xff"]
    assert (run.cwd, run.umask, run.user, run.group) == (b"/src", 0o077, None, None)
    assert run.env[b"A"] == b"1"
    assert (run.limits.timeout_seconds, run.limits.memory_max_bytes) == (5, 2**24)
    assert (run.limits.pids_max, run.limits.cpu_max_millicpus) == (64, None)
    assert run.retry is not None
    assert (run.retry.limit, run.retry.backoff_seconds, run.retry.backoff_max_seconds) == (
        2,
        5,
        300,
    )
    assert (run.queue, run.priority, run.network) == (HOOKS_QUEUE, 0, "host")
    assert (run.reserve.millicpus, run.reserve.memory_bytes) == (0, 0)
    assert (run.name, run.labels) == ("hook.build.fail", {"hook": JOB[:8]})
    assert run.idempotency_key == f"hook:{JOB}:0:000000000009"
    assert run.idempotency_key.startswith(keys_of(JOB, 0))
    # A hook of a hook could go on for ever.
    assert run.hooks == []


def test_a_hook_runs_as_whom_its_job_was_submitted_for_on_the_host() -> None:
    run = made(
        owner({**COMMAND, "retries": 0, "network": "none"}, user="bob", group="staff",
              sandbox={"root": "/images/a", "preset": "untrusted"}),
    )  # fmt: skip
    assert (run.user, run.group, run.network, run.retry) == ("bob", "staff", "none", None)
    # A directory of the image is none here.
    assert run.cwd == b"/"
    assert run.sandbox == owner().sandbox


def test_it_is_told_what_has_happened() -> None:
    env = made(owner(COMMAND)).env
    told = {name: value for name, value in env.items() if name.startswith(b"RUNNERD_HOOK_")}
    assert told == {
        b"RUNNERD_HOOK_EVENT": b"fail",
        b"RUNNERD_HOOK_JOB": JOB.encode(),
        b"RUNNERD_HOOK_NAME": b"build",
        b"RUNNERD_HOOK_STATE": b"ended",
        b"RUNNERD_HOOK_REASON": b"exit",
        b"RUNNERD_HOOK_EXIT_STATUS": b"3",
        b"RUNNERD_HOOK_ATTEMPT": b"2",
        b"RUNNERD_HOOK_JOBS": b"",
        b"RUNNERD_HOOK_FAILED": b"",
        b"RUNNERD_HOOK_TIME": b"2027-01-15T08:00:00.123456Z",
    }


def test_of_a_group_and_of_a_job_without_a_name_what_is_not_known_is_empty() -> None:
    about = About(is_group=True, name="many", state="ended", is_ok=True, jobs=3, failed=0)
    found = facts(call_of(b"", about=about, event="ok"))
    assert found[b"GROUP"] == JOB.encode()
    assert b"JOB" not in found
    assert found[b"ATTEMPT"] == found[b"REASON"] == b""
    assert (found[b"EXIT_STATUS"], found[b"JOBS"], found[b"FAILED"]) == (b"0", b"3", b"0")
    run = made(owner(COMMAND), about=About(state="running", attempt=1), event="started")
    assert run.name == f"hook.{JOB[:8]}.started"
    assert run.env[b"RUNNERD_HOOK_NAME"] == b""


def test_a_group_that_failed_is_told_like_a_program_that_did() -> None:
    about = About(is_group=True, name="many", state="ended", is_ok=False, jobs=3, failed=2)
    found = facts(call_of(b"", about=about, event="fail"))
    assert (found[b"EXIT_STATUS"], found[b"JOBS"], found[b"FAILED"]) == (b"1", b"3", b"2")


def test_an_address_is_in_the_environment_and_never_in_argv() -> None:
    run = made(owner(ADDRESS))
    assert run.argv == hook_program.command()
    assert b"hunter" not in b"".join(run.argv)
    assert run.env[b"RUNNERD_HOOK_URL"] == URL.encode()
    assert run.env[b"RUNNERD_HOOK_PROGRAM"] == hook_program.text()


def test_status_shows_of_a_command_its_first_word_and_of_an_address_its_host() -> None:
    request = owner(COMMAND, ADDRESS)
    hooks = [Hook(*hook) for hook in new_hooks(request.hooks, request, ALICE)]
    assert shown_hooks([*hooks, Hook(("ok",), b"garbled")]) == [
        {"number": 0, "on": ["fail"], "command": "mail", "host": None},
        {"number": 1, "on": ["fail"], "command": None, "host": "example.org"},
        {"number": 2, "on": ["ok"], "command": None, "host": None},
    ]
    template, _ = unpack(hooks[1].template)
    assert "hunter" not in repr(template)


def test_the_hooks_of_a_job_take_no_more_than_so_much_together() -> None:
    env = {f"V{index}": "x" * 120_000 for index in range(4)}
    assert new_hooks(owner(*[COMMAND] * 4, env=env).hooks, owner(env=env), ALICE)
    with pytest.raises(Refusal) as caught:
        new_hooks(owner(*[COMMAND] * 5, env=env).hooks, owner(env=env), ALICE)
    assert caught.value.fields["field"] == "hooks"


def test_a_template_that_is_damaged_is_refused() -> None:
    for data in (b"", b"\xc1", b"\x80", b"\x93\x80\x01\x90"):
        with pytest.raises(Refusal):
            unpack(data)


@given(st.text("abc.-_", min_size=1, max_size=63), st.sampled_from(["ok", "resumed", "started"]))
def test_the_name_of_a_run_is_always_a_name_and_ends_with_the_event(name: str, event: str) -> None:
    run = made(owner(COMMAND), about=About(name=f"a{name}", state="ended"), event=event)
    assert run.name is not None
    assert len(run.name) <= 64
    assert run.name.startswith("hook.a")
    assert run.name.endswith(f".{event}")
    assert parse(Submit, {"argv": ["true"], "cwd": "/", "name": run.name}).name == run.name


@given(st.integers(-(2**63), 2**63 - 1))
def test_whatever_the_clock_says_there_is_some_text_for_it(time_ns: int) -> None:
    text = rfc3339(time_ns)
    assert text == "" or text.endswith("Z")
    assert text.isascii()
