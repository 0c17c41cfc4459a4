"""What is read back from disk is what it should be, or damage to one job and nothing worse."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import protocol
from runner import messages, outcome, parsing, records, spec, stored
from runner.config import Config
from runner.lifecycle import State
from runner.pump import plan_output
from runner.records import RecordError
from runner.rows import Job
from runner.users import Account

JOB = "3f2a0000-0000-4000-8000-000000000001"
RESULT: dict[str, Any] = {
    **dict.fromkeys(stored.RESULT_FIELDS), "reason": "exit", "exit_status": 0, "exit_code": 0,
}  # fmt: skip
EXIT = {**RESULT, "job": JOB, "started_ns": 1, "ended_ns": 2}


def row(packed: bytes, uid: int = 1, gid: int = 2) -> Job:
    """The row of the job that the spec was committed with."""
    return Job(
        seq=1, id=JOB, submitted_by_uid=uid, uid=uid, gid=gid, name=None, state=State.QUEUED,
        submitted_ns=1, started_ns=None, ended_ns=None, boot_id=None, monitor_pid=None,
        limits=None, reason=None, result=None, spec=packed,
    )  # fmt: skip


def a_spec() -> dict[str, Any]:
    io = [{"path": "/", "read_bytes_per_second": 4096}]
    args = {"argv": ["a"], "cwd": "/", "env": {"A": b"\xff"}, "limits": {"pids_max": 3, "io": io}}
    request = parsing.parse(messages.Submit, args)
    return spec.build(JOB, request, Account(1, 2, (3,), "x"), Config())


def test_what_was_written_is_read() -> None:
    assert stored.spec(row(spec.pack(a_spec()))) == {"version": 1, **a_spec()}
    assert stored.exit_record(records.pack(EXIT), JOB) == {"version": 1, **EXIT}
    assert stored.result(records.pack(RESULT)) == RESULT
    limits = {"pids_max": 3, "io": [{"path": b"/", "devices": ["8:0"]}]}
    assert stored.limits(records.pack(limits)) == limits


def test_a_result_is_the_one_of_the_protocol() -> None:
    assert set(outcome.Outcome._fields) <= set(stored.RESULT_FIELDS)
    assert "cpu_usec" in stored.RESULT_FIELDS


NEWER = {"net", "sandbox"}


@pytest.mark.parametrize("field", sorted(NEWER))
def test_a_spec_of_an_older_runnerd_has_surroundings_as_they_were(field: str) -> None:
    fields = a_spec()
    del fields[field]
    assert stored.spec(row(records.pack(fields)))[field] == stored.unsaid()[field]
    assert set(stored.unsaid()[field]) == set(a_spec()[field])


GROUP = "9c1b0000-0000-4000-8000-000000000009"


def member(packed: bytes, uid: int = 1) -> Job:
    """The row of a job of a group."""
    return msgspec.structs.replace(row(packed, uid), group_id=GROUP, member=3)


def of(owner: str, hostname: str | None = None) -> dict[str, Any]:
    args = {"argv": ["a"], "cwd": "/", "sandbox": {"hostname": hostname} if hostname else {}}
    request = parsing.parse(messages.Submit, args)
    return spec.build(owner, request, Account(1, 2, (3,), "x"), Config())


@pytest.mark.parametrize("hostname", [None, "mine", "job-other"])
def test_a_job_reads_the_spec_of_its_group_as_if_it_had_been_submitted_alone(
    hostname: str | None,
) -> None:
    shared = spec.pack(of(GROUP, hostname))
    assert stored.spec(member(shared)) == {"version": 1, **of(JOB, hostname)}
    # And its own, once it has one.
    own = spec.pack(of(JOB, hostname))
    assert stored.spec(member(own)) == {"version": 1, **of(JOB, hostname)}


def test_the_default_hostname_of_a_group_is_its_own() -> None:
    assert stored.spec(member(spec.pack(of(GROUP))))["sandbox"]["hostname"] == f"job-{JOB[:8]}"


def test_the_spec_of_another_group_or_of_a_job_alone_is_not_read() -> None:
    shared = spec.pack(of(GROUP))
    for job in (
        row(shared),
        msgspec.structs.replace(member(shared), group_id=JOB),
        member(shared, uid=5),
        member(spec.pack(of("00000000-0000-4000-8000-000000000000"))),
    ):
        with pytest.raises(RecordError, match="another job"):
            stored.spec(job)


LATER = {"retry", "deadline_ns"}


@pytest.mark.parametrize("field", sorted(LATER))
def test_a_spec_of_an_older_runnerd_is_tried_once_and_has_no_deadline(field: str) -> None:
    fields = a_spec()
    del fields[field]
    assert stored.spec(row(records.pack(fields)))[field] is None


def a_retry() -> dict[str, Any]:
    rule = {"reason": "oom", "memory_factor": 1.5, "memory_max_bytes": 2**40}
    args = {
        "argv": ["a"], "cwd": "/", "limits": {"memory_max_bytes": 2**30},
        "retry": {"limit": 3, "backoff_seconds": 5, "backoff_max_seconds": 300, "rules": [rule]},
    }  # fmt: skip
    request = parsing.parse(messages.Submit, args)
    return spec.build(JOB, request, Account(1, 2, (3,), "x"), Config(), deadline_ns=7)


def test_how_a_job_is_tried_again_is_read_as_it_was_written() -> None:
    job = msgspec.structs.replace(row(spec.pack(a_retry())), deadline_ns=7)
    read = stored.spec(job)
    assert read == {"version": 1, **a_retry()}
    assert read["deadline_ns"] == 7
    assert stored.pack_spec(read) == spec.pack(a_retry())


def test_a_deadline_that_the_row_has_no_more_counts_no_more_whatever_the_spec_says() -> None:
    own = row(spec.pack(a_retry()))
    assert stored.spec(own) == {"version": 1, **a_retry(), "deadline_ns": None}
    shared = member(spec.pack({**of(GROUP), "deadline_ns": 7}))
    assert stored.spec(shared)["deadline_ns"] is None
    assert stored.spec(msgspec.structs.replace(shared, deadline_ns=9))["deadline_ns"] == 9


RULE = a_retry()["retry"]["rules"][0]


@pytest.mark.parametrize(
    "changes",
    [{"limit": -1}, {"limit": None}, {"backoff_seconds": "5"}, {"backoff_seconds": -1.0},
     {"on": ["boredom"]}, {"on": None}, {"rules": [{"reason": "oom"}]}, {"rules": [3]},
     {"rules": [{**RULE, "memory_factor": 0.5}]}, {"rules": [{**RULE, "reason": "stopped"}]},
     {"rules": [{**RULE, "memory_max_bytes": -1}]}],
)  # fmt: skip
def test_a_spec_that_is_tried_again_in_no_known_way_is_damaged(changes: dict[str, Any]) -> None:
    fields = a_retry()
    with pytest.raises(RecordError, match="retry"):
        stored.spec(row(records.pack({**fields, "retry": {**fields["retry"], **changes}})))


@pytest.mark.parametrize("name", sorted(a_retry()["retry"]))
def test_of_a_retry_nothing_may_be_missing(name: str) -> None:
    fields = a_retry()
    del fields["retry"][name]
    with pytest.raises(RecordError, match=name):
        stored.spec(row(records.pack(fields)))


OLD_SIZES = {"log_segment_bytes": 65536, "log_keep_bytes": 2**20}


def an_older_spec(**sizes: object) -> dict[str, Any]:
    """As the versions before `logs` wrote it."""
    return {name: value for name, value in a_spec().items() if name != "logs"} | sizes


def test_the_log_of_a_spec_of_an_older_runnerd_is_kept_as_it_was() -> None:
    read = stored.spec(row(records.pack(an_older_spec(**OLD_SIZES))))
    assert read["logs"] == {
        "segment_bytes": 65536, "keep_bytes": 2**20, "keep_segments": 18, "compression": "none",
        "on_full": "wait",
    }  # fmt: skip
    assert set(read) == {"version", *a_spec()}
    # As `runner.launching` writes it for the monitor, which fills in nothing.
    again = records.unpack(stored.pack_spec(read))
    assert again["logs"] == read["logs"]
    plan = plan_output(again, again["limits"])
    assert (plan.segment_bytes, plan.keep_bytes, plan.on_full) == (65536, 2**20, "wait")


@pytest.mark.parametrize(
    "changes",
    [{"log_segment_bytes": 0}, {"log_segment_bytes": "1"}, {"log_keep_bytes": None},
     {"log_keep_bytes": 0}, {"log_keep_bytes": -5}, {"log_keep_bytes": True}],
)  # fmt: skip
def test_an_older_spec_with_garbled_sizes_is_damaged(changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        stored.spec(row(records.pack(an_older_spec(**{**OLD_SIZES, **changes}))))


@pytest.mark.parametrize(
    ("name", "value"),
    [("segment_bytes", 0), ("keep_bytes", None), ("keep_segments", "2"), ("compression", "lz4"),
     ("on_full", "panic"), ("on_full", None)],
)  # fmt: skip
def test_a_spec_whose_log_is_kept_in_no_known_way_is_damaged(name: str, value: object) -> None:
    logs = a_spec()["logs"]
    with pytest.raises(RecordError, match=f"logs.{name}"):
        stored.spec(row(records.pack({**a_spec(), "logs": {**logs, name: value}})))
    with pytest.raises(RecordError, match=name):
        missing = {key: kept for key, kept in logs.items() if key != name}
        stored.spec(row(records.pack({**a_spec(), "logs": missing})))


def test_a_spec_that_was_read_can_be_written_again() -> None:
    assert stored.pack_spec(stored.spec(row(spec.pack(a_spec())))) == spec.pack(a_spec())


@pytest.mark.parametrize("field", sorted(set(a_spec()) - NEWER - LATER))
def test_a_spec_without_one_of_its_fields_is_damaged(field: str) -> None:
    fields = a_spec()
    del fields[field]
    with pytest.raises(RecordError, match=field):
        stored.spec(row(records.pack(fields)))


@pytest.mark.parametrize("field", sorted(a_spec()))
def test_a_spec_with_a_field_of_another_kind_is_damaged(field: str) -> None:
    with pytest.raises(RecordError):
        stored.spec(row(records.pack({**a_spec(), field: [b"x", {}]})))


@pytest.mark.parametrize("change", [{"job": JOB[:-1] + "2"}, {"uid": 0}, {"gid": 0}])
def test_a_spec_that_does_not_agree_with_its_row_is_damaged(change: dict[str, Any]) -> None:
    """Otherwise a garbled spec could run somebody's job as root."""
    with pytest.raises(RecordError, match="another"):
        stored.spec(row(records.pack({**a_spec(), **change})))


@pytest.mark.parametrize(
    "limits", [{"pids_max": "3"}, {"io": [{"device": "8:0"}]}, {"io": {}}, {"memory_max_bytes": []}]
)
def test_a_spec_with_garbled_limits_is_damaged(limits: dict[str, Any]) -> None:
    with pytest.raises(RecordError):
        stored.spec(row(records.pack({**a_spec(), "limits": limits})))
    with pytest.raises(RecordError):
        stored.limits(records.pack(limits))


@pytest.mark.parametrize(
    "changes",
    [{"job": JOB[:-1] + "2"}, {"reason": "finished"}, {"exit_status": None}, {"started_ns": "x"}],
)
def test_an_exit_record_that_is_not_of_this_job_or_says_nothing_known_is_damaged(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(RecordError):
        stored.exit_record(records.pack({**EXIT, **changes}), JOB)


@pytest.mark.parametrize("data", [b"", b"\xc1", records.pack({}), records.pack(RESULT)[:-1]])
def test_a_damaged_result_says_so_and_is_no_success(data: bytes) -> None:
    found = stored.result(data)
    assert set(found) == set(stored.RESULT_FIELDS)
    assert (found["reason"], found["exit_status"]) == ("lost", 125)
    assert found["detail"].startswith("its result is damaged: ")


def test_a_result_of_an_older_monitor_says_nothing_of_what_it_did_not_know() -> None:
    newer = {"paused_ns", "throttled_usec", "memory_high_hits", "denied", "log_dropped_bytes",
             "cpu_pressure_usec", "memory_pressure_usec", "io_pressure_usec"}  # fmt: skip
    older = {name: value for name, value in RESULT.items() if name not in newer}
    assert stored.result(records.pack(older)) == RESULT
    assert stored.result(records.pack(older))["log_dropped_bytes"] is None
    record = {**older, "job": JOB, "started_ns": 1, "ended_ns": 2}
    assert stored.exit_record(records.pack(record), JOB)["reason"] == "exit"


@pytest.mark.parametrize("denied", [[[165]], [["mount", 1]], [[165, -1]], [[1, 1]] * 65, 7])
def test_refusals_that_are_no_pairs_of_numbers_are_damage(denied: object) -> None:
    assert stored.result(records.pack({**RESULT, "denied": [[165, 3]]}))["denied"] == [[165, 3]]
    assert stored.result(records.pack({**RESULT, "denied": denied}))["reason"] == "lost"


def test_fields_of_a_later_version_do_not_leak_into_a_result() -> None:
    assert stored.result(records.pack({**RESULT, "more": 1})) == RESULT


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)  # fmt: skip
whole = {"spec": a_retry(), "exit": EXIT, "result": RESULT, "limits": {"pids_max": 1, "io": []}}


@given(data=st.data())
def test_a_record_with_anything_in_one_field_is_read_or_damaged(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(whole)))
    field = data.draw(st.sampled_from(sorted({*whole[kind], "io"})))
    packed = records.pack({**whole[kind], field: data.draw(values)})
    read_all(packed)


@given(st.binary(max_size=100))
def test_garbage_is_damage(data: bytes) -> None:
    read_all(data)


def read_all(data: bytes) -> None:
    for read in (
        lambda: stored.spec(row(data)),
        lambda: stored.limits(data),
        lambda: stored.exit_record(data, JOB),
    ):
        try:
            read()
        except RecordError:
            continue
    protocol.encode_frame({"ok": stored.result(data)})


def test_a_map_of_a_version_and_keys_that_are_no_text_is_damaged() -> None:
    packed = msgpack.packb({"version": 1, 5: 6, b"argv": 7})
    with pytest.raises(RecordError):
        stored.spec(row(packed))
