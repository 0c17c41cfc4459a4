"""What an update makes of limits: what it leaves, lifts and replaces, and what it cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import limit_changes, messages, parsing
from runner.limit_changes import Used, differing, merged, refuse_below_use
from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner.message_limits import LimitsUpdate

MIB = 2**20
UNUSED = Used(0.0, 0.0, 0)


def update_of(**limits: Any) -> LimitsUpdate:
    return parsing.parse(messages.Update, {"job": "abcd", "limits": limits}).limits


def refused(*args: Any) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        refuse_below_use(*args)
    return caught.value.to_wire()


def test_what_is_left_out_stays_none_lifts_and_the_rest_replaces() -> None:
    present = {"memory_max_bytes": 64 * MIB, "pids_max": 5, "timeout_seconds": 60}
    update = update_of(pids_max=None, timeout_seconds=90, cpu_weight=7)
    assert merged(present, update) == {
        "memory_max_bytes": 64 * MIB, "timeout_seconds": 90, "cpu_weight": 7,
    }  # fmt: skip


def test_io_and_rlimits_are_replaced_as_a_whole() -> None:
    present = {
        "io": [{"path": b"/a", "read_bytes_per_second": 4096}],
        "rlimits": {"nofile": [1, 2], "core": [0, 0]},
    }
    update = update_of(
        io=[{"path": "/b", "write_operations_per_second": 9}], rlimits={"nofile": [3, 4]}
    )
    after = merged(present, update)
    assert after == {
        "io": [{"path": b"/b", "write_operations_per_second": 9}],
        "rlimits": {"nofile": [3, 4]},
    }
    assert type(after["io"][0]["path"]) is bytes
    assert merged(after, update_of(io=None, rlimits=None)) == {}
    assert merged(present, update_of(pids_max=1))["io"] == present["io"]


@pytest.mark.parametrize(
    ("present", "changes", "field"),
    [
        ({"timeout_seconds": 60}, {"warning_seconds": 60}, "limits.warning_seconds"),
        (
            {"timeout_seconds": 60, "warning_seconds": 9},
            {"timeout_seconds": None},
            "limits.warning_seconds",
        ),
        ({"memory_max_bytes": 8 * MIB}, {"memory_high_bytes": 9 * MIB}, "limits.memory_high_bytes"),
        ({"cpu_idle": True}, {"cpu_weight": 5}, "limits.cpu_weight"),
        (
            {"output_max_bytes": 4096, "output_policy": "end"},
            {"output_max_bytes": None},
            "limits.output_policy",
        ),
    ],
)
def test_what_contradicts_the_present_limits_names_its_field(
    present: dict[str, Any], changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(Refusal) as caught:
        merged(present, update_of(**changes))
    assert caught.value.fields["field"] == field


limits = st.fixed_dictionaries(
    {},
    optional={
        "memory_max_bytes": st.integers(4 * MIB, 2**50),
        "pids_max": st.integers(1, 1000),
        "timeout_seconds": st.floats(1, 1000),
        "cpu_set": st.just("0-1"),
        "rlimits": st.just({"core": [0, None]}),
    },
)


@given(present=limits, changes=limits.filter(bool), lifted=st.booleans())
def test_an_update_that_was_made_changes_nothing_a_second_time(
    *, present: dict[str, Any], changes: dict[str, Any], lifted: bool
) -> None:
    if any(value == [0, None] for value in changes.get("rlimits", {}).values()):
        changes = {**changes, "rlimits": {"core": [0, 0]}}
    wanted = dict.fromkeys(changes) if lifted else changes
    update = update_of(**wanted)
    once = merged(present | {"rlimits": {}}, update)
    assert merged(once, update) == once
    assert set(differing(present, once)) <= {*changes, "rlimits"}
    for name, value in wanted.items():
        assert once.get(name) == value


def test_time_that_has_passed_is_refused_with_how_much_it_is() -> None:
    used = Used(12.5, 3.25, 0)
    error = refused({"timeout_seconds": 12.5}, ["timeout_seconds"], used)
    assert (error["field"], error["given"]) == ("limits.timeout_seconds", "12.5")
    assert "12.500" in error["detail"]
    error = refused({"cpu_time_seconds": 3}, ["cpu_time_seconds"], used)
    assert error["field"] == "limits.cpu_time_seconds"
    assert "3.250" in error["detail"]
    refuse_below_use({"timeout_seconds": 12.6}, ["timeout_seconds"], used)
    # It ends in this moment, but nobody asked for that.
    refuse_below_use({"timeout_seconds": 12.5}, ["pids_max"], used)
    refuse_below_use({}, ["timeout_seconds", "cpu_time_seconds"], used)


@pytest.mark.parametrize("policy", ["end", "block"])
def test_output_that_is_written_cannot_be_unwritten(policy: str) -> None:
    used = UNUSED._replace(output_bytes=5000)
    wanted = {"output_max_bytes": 4999, "output_policy": policy}
    error = refused(wanted, ["output_policy"], used)
    assert (error["field"], error["given"]) == ("limits.output_max_bytes", "4999")
    assert "5000" in error["detail"]
    refuse_below_use({**wanted, "output_max_bytes": 5000}, ["output_max_bytes"], used)
    refuse_below_use({**wanted, "output_policy": "drop-oldest"}, ["output_max_bytes"], used)
    refuse_below_use({"output_max_bytes": 4999}, ["output_max_bytes"], used)


def test_a_bandwidth_needs_a_network_of_the_jobs_own() -> None:
    limit_changes.refuse_without_network("private", {"net_ingress_bits_per_second": 8000})
    limit_changes.refuse_without_network("none", {})
    with pytest.raises(Refusal) as caught:
        limit_changes.refuse_without_network("host", {"net_ingress_bits_per_second": 8000})
    assert caught.value.fields["field"] == "limits.net_ingress_bits_per_second"
