"""A group as the protocol shows it: its fields are those of docs/PROTOCOL.md."""

from __future__ import annotations

from typing import Any

import pytest

from runner import group_views
from runner.group_rows import About, Group, GroupCounts, StepAbout
from runner.views import Place

SUMMARY = {
    "group", "kind", "name", "state", "ok", "size", "max_running", "submitted_by_uid", "user",
    "submitted_ns", "ended_ns", "queue", "argv", "counts", "first", "last",
}  # fmt: skip
FIRST = {"user": "alice", "queue": "night", "argv": ["make"], "job": "j"}


def group(**changes: Any) -> Group:
    fields: dict[str, Any] = {
        "seq": 1, "id": "g", "submitted_by_uid": 1000, "kind": "array", "name": "many", "size": 4,
        "max_running": 2, "submitted_ns": 5, "first_seq": 7, "unended": 4, "failed": 0,
        "ended_ns": None, "idempotency_key": None, "digest": b"",
    }  # fmt: skip
    return Group(**{**fields, **changes})


def shown(
    found: Group | None = None, first: dict[str, Any] | None = FIRST, **how: Any
) -> dict[str, Any]:
    how = {"about": None, "counts": GroupCounts(queued=4), "has_started": False, **how}
    about, counts = how.pop("about"), how.pop("counts")
    return group_views.summary(found or group(), about, counts, first, **how)


def test_a_summary_has_the_fields_of_the_protocol() -> None:
    found = shown()
    assert set(found) == SUMMARY
    assert (found["user"], found["queue"], found["argv"]) == ("alice", "night", ["make"])
    assert found["counts"] == {
        "queued": 4, "starting": 0, "running": 0, "paused": 0, "ok": 0, "failed": 0, "skipped": 0,
        "removed": 0,
    }  # fmt: skip
    assert (found["state"], found["ok"]) == ("queued", None)


def test_what_is_not_there_any_more_is_counted_as_removed() -> None:
    ended = group(unended=0, ended_ns=9, failed=2)
    found = shown(ended, counts=GroupCounts(ok=1), has_started=True)
    assert (found["counts"]["removed"], found["ok"]) == (3, False)
    assert shown(counts=GroupCounts(queued=5))["counts"]["removed"] == 0


def test_of_a_group_without_jobs_and_of_a_flow_there_is_less_to_show() -> None:
    empty = shown(first=None)
    assert (empty["user"], empty["queue"], empty["argv"]) == ("1000", None, [])
    flow = shown(group(kind="flow"))
    assert (flow["argv"], flow["queue"], flow["first"], flow["last"]) == ([], "night", 0, 3)


@pytest.mark.parametrize(("failed", "is_ok"), [(0, True), (1, False)])
def test_a_group_that_has_ended_is_ok_when_nothing_failed(failed: int, *, is_ok: bool) -> None:
    ended = group(unended=0, ended_ns=9, failed=failed)
    found = shown(ended, has_started=True)
    assert (found["state"], found["ok"], found["ended_ns"]) == ("ended", is_ok, 9)
    assert shown(has_started=True)["state"] == "running"


def test_the_first_and_the_last_index_are_those_that_there_are() -> None:
    about = About(ranges=[(10, 19, 4), (2, 3, 5)])
    found = shown(about=about)
    assert (found["first"], found["last"]) == (2, 18)


def test_only_where_nothing_is_under_way_or_gone_it_may_be_that_nothing_has_started() -> None:
    may = group_views.may_be_unstarted
    assert may(group(), GroupCounts(queued=4))
    assert may(group(), GroupCounts(queued=2, failed=1, skipped=1))
    assert not may(group(), GroupCounts(queued=3))
    for name in ("starting", "running", "paused", "ok"):
        assert not may(group(), GroupCounts(queued=3)._replace(**{name: 1}))


def test_a_job_is_shown_with_its_place_in_the_flow() -> None:
    about = About(
        steps=[StepAbout(name="a"), StepAbout(name="b", values={"k": "v"}, needs=[("a", "any")])]
    )
    found = group_views.member({"job": "j", "member": 1}, about)
    assert found == {
        "job": "j", "member": 1, "values": {"k": "v"}, "needs": [{"step": "a", "on": "any"}],
    }  # fmt: skip
    # An array, one whose look is damaged, and one that is not what it was.
    for other in (About(), None):
        found = group_views.member({"member": 1}, other)
        assert found == {"member": 1, "values": {}, "needs": []}


def test_the_place_of_a_job_is_told_by_its_name_without_reading_the_flow() -> None:
    flow = group(kind="flow", name="v1.2")
    assert group_views.place(flow, "v1.2.test.1") == Place("v1.2", "test.1")
    assert group_views.place(flow, "other.test.1") == Place("v1.2", None)
    assert group_views.place(group(), "many.3") == Place("many", None)
    assert group_views.place(group(name=None), None) == Place(None, None)
    assert group_views.place(None, "many.3") == Place(None, None)


def test_the_job_for_which_a_group_failed_is_shown_with_its_result() -> None:
    job = {"job": "j", "name": "g.1", "member": 1, "result": {"reason": "exit"}, "argv": ["x"]}
    assert group_views.failed(job) == {
        "job": "j", "name": "g.1", "member": 1, "result": {"reason": "exit"}
    }  # fmt: skip
