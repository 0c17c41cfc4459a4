"""A limit that this host cannot enforce is refused by the field that asked for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from isolation.cgroups.limit_checks import needed
from isolation.cgroups.limit_kinds import IoLimit, JobLimits
from isolation.errors import LimitUnavailable
from runner.config import Config, LogsConfig
from runner.refusal import Refusal
from runner.submission import Submissions, check_segment

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
