"""A limit that this host cannot enforce is refused by the field that asked for it."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from isolation.cgroups.limit_checks import needed
from isolation.cgroups.limit_kinds import IoLimit, JobLimits
from isolation.errors import LimitUnavailable
from runner.config import Config, LogsConfig
from runner.refusal import Refusal
from runner.submission import Submissions, check_room, check_segment

EVERY = JobLimits(
    memory_max_bytes=1,
    memory_high_bytes=1,
    memory_swap_max_bytes=1,
    oom_policy="continue",
    cpu_max_millicpus=1,
    cpu_weight=1,
    cpu_idle=True,
    cpu_set="0",
    pids_max=1,
    io=(IoLimit("8:0", 1),),
    io_weight=1,
)


@pytest.mark.parametrize("limit", sorted({limit for limit, _ in needed(EVERY)}))
def test_the_refusal_of_a_limit_names_the_field_of_the_request(limit: str) -> None:
    def refuse(_limits: JobLimits) -> None:
        raise LimitUnavailable(limit, why="it is not there", remedy="do this")

    tree: Any = SimpleNamespace(require=refuse)
    nothing: Any = None
    submissions = Submissions(Config(), None, tree, nothing, nothing)
    with pytest.raises(Refusal) as caught:
        submissions._check_enforceable({"limits": {}}, {})
    answer = caught.value.to_wire()
    assert answer["code"] == "limit-unavailable"
    name = answer["field"].removeprefix("limits.")
    assert getattr(EVERY, name)
    assert "do this" in answer["detail"]


def test_a_segment_may_be_as_large_as_what_is_kept_and_no_larger() -> None:
    config = Config(logs=LogsConfig(segment_bytes=4096, keep_bytes=8192))
    for size in (None, 4096, 8192):
        check_segment(size, config)
    with pytest.raises(Refusal) as caught:
        check_segment(8193, config)
    answer = caught.value.to_wire()
    assert (answer["code"], answer["field"]) == ("invalid-argument", "logs.segment_bytes")
    assert (answer["given"], answer["allowed"]) == ("8193", "at most 8192")
    assert "logs.keep_bytes" in answer["detail"]


@pytest.mark.parametrize(
    ("blocks", "files", "free_files", "lack"),
    [(100, 0, 0, ""), (100, 1000, 8, ""), (16, 0, 0, "no free space"), (0, 0, 0, "no free space"),
     (100, 1000, 7, "no room for more files")],
)  # fmt: skip
def test_a_job_whose_directory_has_no_room_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, blocks: int, files: int, free_files: int, lack: str
) -> None:
    found = SimpleNamespace(f_blocks=10**6, f_bfree=4096 + blocks, f_bavail=0, f_frsize=4096,
                            f_files=files, f_ffree=free_files)  # fmt: skip
    monkeypatch.setattr(os, "statvfs", lambda _path: found)
    if not lack:
        check_room("/state", 1000)
        return
    with pytest.raises(Refusal) as caught:
        check_room("/state", 1000)
    answer = caught.value.to_wire()
    assert answer["code"] == "store-error"
    assert answer["detail"].startswith(f"{lack} in /state")
    assert "runctl prune" in answer["detail"]


def test_a_state_directory_that_is_gone_is_said() -> None:
    with pytest.raises(Refusal) as caught:
        check_room("/no/such/directory", 1)
    assert "/no/such/directory: No such file" in caught.value.to_wire()["detail"]
