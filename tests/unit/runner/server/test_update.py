"""`update`: what is looked at before the supervisor is asked."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runner import messages, spec, views
from runner.config import Config, LogsConfig
from runner.parsing import parse
from runner.policy import Peer
from runner.queues import Rules
from runner.refusal import Refusal
from runner.scheduling.kinds import Capacity, Needs
from runner.server.handlers.update import update
from runner.users import Account

if TYPE_CHECKING:
    from runner.rows import Job

PEER = Peer(uid=1000, gid=1000, groups=frozenset(), pid=os.getpid())
ALL_OF_IT = {"output_policy": "end", "output_max_bytes": 2**20}


def job_with(logs: dict[str, Any] | None = None, **limits: Any) -> Any:
    args = {"argv": ["a"], "cwd": "/", "limits": limits, "logs": logs or {}}
    request = parse(messages.Submit, args)
    packed = spec.pack(spec.build("id", request, Account(1, 1, (), "x"), Config()))
    state = SimpleNamespace(value="running")
    return SimpleNamespace(
        id="id",
        uid=1,
        gid=1,
        deadline_ns=None,
        spec=packed,
        state=state,
        queue="default",
        priority=0,
        group_id=None,
    )


def answer(
    job: Job,
    limits: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    config: Config | None = None,
    **more: Any,
) -> int:
    """How often the supervisor was asked."""
    asked: list[Any] = []

    async def change(*args: Any) -> Job:
        asked.append(args)
        return job

    service: Any = SimpleNamespace(
        config=config or Config(), admin_gid=None, find_job=lambda *_: job,
        supervisor=SimpleNamespace(update=change),
        submissions=SimpleNamespace(rules=Rules(Capacity(1, Needs()))),
    )  # fmt: skip
    nothing: Any = None
    monkeypatch.setattr(views, "limits", lambda _job: {})
    request = parse(messages.Update, {"job": "abcd", "limits": limits, **more})
    asyncio.run(update(service, PEER, request, nothing))
    return len(asked)


@pytest.mark.parametrize("policy", ["end", "block"])
def test_all_output_and_a_number_of_files_contradict_each_other_as_at_submit(
    monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    job = job_with({"keep_segments": 9})
    with pytest.raises(Refusal) as caught:
        answer(job, {**ALL_OF_IT, "output_policy": policy}, monkeypatch)
    error = caught.value.to_wire()
    assert (error["code"], error["field"]) == ("invalid-argument", "limits.output_policy")
    assert "9 files" in error["allowed"]


@pytest.mark.parametrize(
    ("logs", "limits"),
    [({}, ALL_OF_IT), ({"keep_segments": 9}, {"output_policy": "drop-oldest"}),
     ({"keep_segments": 9}, {"pids_max": 5}), ({"keep_segments": 9}, {"output_policy": None})],
)  # fmt: skip
def test_what_does_not_is_carried_out(
    logs: dict[str, Any], limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answer(job_with(logs), limits, monkeypatch) == 1


def test_a_job_that_keeps_all_already_may_go_on_under_another_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Config(logs=LogsConfig(keep_segments=77))
    job = job_with(output_policy="block", output_max_bytes=2**19)
    assert answer(job, ALL_OF_IT, monkeypatch, other) == 1


def test_a_job_of_a_version_that_knew_no_number_asked_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    derived = {"keep_segments": 2**30 // 2**24 + 2}
    assert answer(job_with(derived), ALL_OF_IT, monkeypatch) == 1


def test_a_member_raises_no_priority_past_that_of_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Refusal) as caught:
        answer(job_with(), {}, monkeypatch, priority=1)
    error = caught.value.to_wire()
    assert (error["code"], error["field"]) == ("not-permitted", "priority")
    assert answer(job_with(), {}, monkeypatch, priority=-1) == 1


def test_what_an_admin_has_raised_stays_when_it_is_said_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = job_with()
    job.priority = 9
    assert answer(job, {}, monkeypatch, priority=9) == 1
