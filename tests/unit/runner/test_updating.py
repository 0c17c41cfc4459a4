"""Updates: every step or none, committed only when all are done, finished after a crash."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from isolation.cgroups.limit_kinds import AppliedLimits, JobLimits
from isolation.errors import LimitBelowUse, LimitUnavailable
from runner import messages, parsing, process_limits, records, spec, stored
from runner.changes import Changes
from runner.config import Config
from runner.lifecycle import State
from runner.outside import Outside
from runner.problems import Problems
from runner.queueing import Queueing
from runner.queues import HOOKS, Rules, UserQuota
from runner.realm import Realm
from runner.refusal import Refusal
from runner.rows import DEFAULT_QUEUE, Job, NewJob
from runner.scheduling.kinds import Capacity, Needs, Quota
from runner.store import Store, StoreError
from runner.updating import Updating, elapsed_ns
from runner.users import Account
from runner.work import Work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 2**20
# 4 CPUs and 100 MiB, of which one user may be promised 64.
RULES = Rules(
    Capacity(9, Needs(4000, 100 * MIB)), quota=UserQuota(Quota(max_memory_bytes=64 * MIB))
)
JOB = "3f2a0000-0000-4000-8000-000000000001"
FIELDS = JobLimits.__dataclass_fields__


def packed(network: str = "none", **limits: Any) -> bytes:
    args = {"argv": ["a"], "cwd": "/", "network": network, "limits": limits}
    request = parsing.parse(messages.Submit, args)
    return spec.pack(spec.build(JOB, request, Account(1, 1, (), "x"), Config()))


def new_job(packed: bytes) -> NewJob:
    return NewJob(id=JOB, submitted_by_uid=1, uid=1, gid=1, name=None, spec=packed, submitted_ns=1)


class Cgroup:
    """Stands in for a job's cgroups: remembers what it was set to."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.cgroups: Any = self
        self.payload = self.core = self.cpu = self
        self.stat = {"usage_usec": 500_000}
        self.procs = [1]

    def exists(self) -> bool:
        return self._host.is_there

    def monitor_pids(self) -> list[int]:
        return self._host.monitor_pids

    def update(self, old: JobLimits, new: JobLimits) -> AppliedLimits:
        self._host.step("cgroups", (old, new))
        return AppliedLimits(**{name: getattr(new, name) for name in FIELDS})


class Host:
    """Everything that an update touches; `fails` names the step at which it goes wrong."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(str(path / "db"))
        self.steps: list[tuple[str, Any]] = []
        self.fails: dict[str, Exception] = {}
        self.intent: dict[str, Any] | None = None
        self.is_there = True
        self.has_file = False
        self.monitor: dict[str, Any] = {}
        self.cgroup = Cgroup(self)
        self.monitor_pids = [7]

    def step(self, name: str, what: Any) -> None:
        error = self.fails.pop(name, None)
        if error is not None:
            raise error
        self.steps.append((name, what))

    # As the tree
    def job(self, _job_id: str) -> Cgroup | None:
        return self.cgroup if self.is_there else None

    def require(self, limits: JobLimits) -> None:
        self.step("require", limits)

    # As the directories
    def write_intent(self, _job_id: str, fields: dict[str, Any]) -> None:
        self.step("intent", fields)
        self.intent = fields

    def read_intent(self, _job_id: str) -> dict[str, Any] | None:
        error = self.fails.pop("read", None)
        if error is not None:
            raise error
        return self.intent

    def forget_intent(self, _job_id: str) -> None:
        self.intent = None

    def has_limits(self, _job_id: str) -> bool:
        return self.has_file

    def write_limits(self, _job_id: str, limits: dict[str, Any]) -> None:
        self.monitor = limits

    def send(self, _job_id: str, kind: int) -> None:
        assert kind == records.CONTROL_UPDATE
        self.step("monitor", self.monitor)

    def output_bytes(self, _job_id: str) -> int:
        return 100

    # As the hooks
    async def set_bandwidth(self, _job_id: str, egress: int | None, ingress: int | None) -> None:
        self.step("network", (egress, ingress))

    async def set_scratch(self, _job_id: str, size: int | None) -> None:
        self.step("scratch", size)

    async def find_devices(self, wanted: dict[str, Any]) -> dict[bytes, tuple[str, ...]]:
        return {entry["path"]: ("8:0",) for entry in wanted["limits"].get("io", ())}

    # The test's side
    def add(
        self,
        *,
        running: bool = True,
        started_ns: int = 0,
        network: str = "none",
        reserved: int = 0,
        queue: str = DEFAULT_QUEUE,
        **limits: Any,
    ) -> None:
        new = new_job(packed(network, **limits))
        self.store.insert(msgspec.structs.replace(new, reserved_memory_bytes=reserved, queue=queue))
        if running:
            self.store.mark_starting(JOB, 1, "boot")
            self.store.mark_running(JOB, 77, started_ns or time.time_ns(), None)

    def cap_monitor(self, _spec: dict[str, Any], limits: dict[str, Any]) -> int:
        most: int = limits.get("output_max_bytes", 0)
        return 1000 + most

    def updating(self, *, hooks: bool = True) -> Updating:
        here: Any = self
        acts = Outside(here.find_devices)
        if hooks:
            acts = Outside(
                here.find_devices,
                here.set_bandwidth,
                here.set_scratch,
                cap_monitor=here.cap_monitor,
            )
        work = Work(ThreadPoolExecutor(1))
        realm = Realm(self.store, here, here, Changes(), work, acts, Problems(), here)
        self.queueing = Queueing(
            realm, RULES, launch=lambda _job: None, may_start=lambda: False, on_end=lambda: None
        )
        self.queueing.load()
        return Updating(realm, self.queueing)

    def update(self, *, hooks: bool = True, priority: int | None = None, **limits: Any) -> Job:
        asked = {} if priority is None else {"priority": priority}
        request = parsing.parse(messages.Update, {"job": "abcd", "limits": limits, **asked})

        async def scenario() -> Job:
            return await self.updating(hooks=hooks).update(JOB, 7, request.limits, priority)

        return asyncio.run(scenario())

    def settle(self) -> None:
        async def scenario() -> None:
            await self.updating().settle(JOB)

        asyncio.run(scenario())

    @property
    def row(self) -> Job:
        job = self.store.get(JOB)
        assert job is not None
        return job

    def limits(self) -> dict[str, Any]:
        limits: dict[str, Any] = stored.spec(self.row)["limits"]
        return limits

    def names(self) -> list[str]:
        return [name for name, _ in self.steps]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    made = Host(tmp_path)

    def change(_pids: object, wanted: dict[str, Any]) -> list[str]:
        made.step("processes", wanted)
        return ["old"]

    monkeypatch.setattr(process_limits, "change", change)
    monkeypatch.setattr(process_limits, "are_set_up", lambda _pids: True)
    monkeypatch.setattr(process_limits, "put_back", lambda _pids, old: made.step("put back", old))
    monkeypatch.setattr(
        process_limits, "limits_of", lambda pid, names: dict.fromkeys(names, (pid, pid))
    )
    yield made
    made.store.close()


EVERYTHING: dict[str, Any] = {
    "pids_max": 9, "net_egress_bits_per_second": 8000, "scratch_max_bytes": 2**21,
    "rlimits": {"core": [0, 0]}, "timeout_seconds": 1e6,
}  # fmt: skip


def test_an_update_takes_every_step_in_order_and_is_then_committed(host: Host) -> None:
    host.add(network="private", pids_max=5)
    job = host.update(**EVERYTHING)
    assert host.names() == ["intent", "cgroups", "network", "scratch", "processes", "monitor"]
    assert host.limits() == EVERYTHING
    assert host.monitor == EVERYTHING
    assert job.limits is not None
    assert stored.limits(job.limits) == EVERYTHING
    assert host.intent is None
    (event,) = [event for event in host.store.events_since(0, 99) if event.kind == "update"]
    assert event.data["by_uid"] == 7
    assert "pids_max" in str(event.data["changed"])


@pytest.mark.parametrize("step", ["cgroups", "network", "scratch", "processes", "monitor"])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(5, "broken"), "limit-unavailable"),
        (LimitUnavailable("pids.max", why="w", remedy="r"), "limit-unavailable"),
        (LimitBelowUse("pids.max", 9, 12), "limit-below-use"),
    ],
)
def test_a_step_that_fails_takes_back_those_before_it_and_nothing_is_committed(
    host: Host, step: str, error: Exception, code: str
) -> None:
    host.add(network="private", pids_max=5)
    before = host.row
    host.fails[step] = error
    with pytest.raises(Refusal) as caught:
        host.update(**EVERYTHING)
    assert caught.value.code == code
    assert host.row == before
    assert host.intent is None
    done = host.names()
    taken_back = {"network": (None, None), "scratch": None, "put back": ["old"]}
    order = ["cgroups", "network", "scratch", "processes", "monitor"]
    for name in order[: order.index(step)]:
        back = "put back" if name == "processes" else name
        assert back in done[len(order[: order.index(step)]) + 1 :]
        if back in taken_back:
            assert dict(host.steps)[back] == taken_back[back]
    if step != "cgroups":
        first, last = [what for name, what in host.steps if name == "cgroups"]
        assert first == last[::-1]
    if step == "monitor":
        assert host.monitor == {"pids_max": 5}


def test_what_cannot_be_committed_is_taken_back(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.add(pids_max=5)

    def full(*_: object, **_columns: object) -> None:
        raise StoreError("full")

    monkeypatch.setattr(host.store, "update", full)
    with pytest.raises(StoreError):
        host.update(pids_max=9)
    assert host.names() == ["intent", "cgroups", "monitor", "monitor", "cgroups"]
    assert host.monitor == {"pids_max": 5}


def test_a_step_back_that_fails_does_not_keep_the_others_from_being_taken(host: Host) -> None:
    host.add(network="private", pids_max=5)

    async def fail_once(_job_id: str, size: int | None) -> None:
        host.step("scratch", size)
        host.fails |= {"network": OSError(5, "broken"), "processes": OSError(5, "broken")}

    host.set_scratch = fail_once  # type: ignore[method-assign]
    with pytest.raises(Refusal):
        host.update(**EVERYTHING)
    assert host.names() == ["intent", "cgroups", "network", "scratch", "scratch", "cgroups"]


def test_only_what_differs_is_touched_besides_cgroups_and_monitor(host: Host) -> None:
    host.add(network="private", **EVERYTHING)
    host.update(cpu_weight=5)
    assert host.names() == ["intent", "cgroups", "monitor"]


def test_a_resource_limit_that_is_lifted_is_the_monitors(host: Host) -> None:
    host.add(rlimits={"core": [0, 0], "nofile": [8, 9]})
    host.update(rlimits={"nofile": [10, 11]})
    assert dict(host.steps)["processes"] == {"core": (7, 7), "nofile": [10, 11]}


@pytest.mark.parametrize("name", ["net_egress_bits_per_second", "scratch_max_bytes"])
def test_what_this_runnerd_cannot_change_is_refused_by_its_name(host: Host, name: str) -> None:
    host.add(network="private", pids_max=5)
    with pytest.raises(Refusal) as caught:
        host.update(hooks=False, pids_max=9, **{name: 2**21})
    assert (caught.value.code, caught.value.fields["field"]) == (
        "limit-unavailable", f"limits.{name}",
    )  # fmt: skip
    assert host.limits() == {"pids_max": 5}


def test_what_has_passed_already_is_refused_before_anything_is_written(host: Host) -> None:
    host.add(started_ns=1)
    for limits in ({"timeout_seconds": 60}, {"cpu_time_seconds": 0.5},
                   {"output_max_bytes": 4096, "output_policy": "end"}):  # fmt: skip
        if "output_policy" in limits:
            host.output_bytes = lambda _job_id: 5000  # type: ignore[method-assign]
        with pytest.raises(Refusal) as caught:
            host.update(**limits)
        assert caught.value.code == "limit-below-use"
    assert host.steps == []


def test_a_queued_job_is_only_rewritten_once_it_is_known_that_it_can_start(host: Host) -> None:
    host.add(running=False, pids_max=5)
    host.fails["require"] = LimitUnavailable("pids.max", why="w", remedy="r")
    with pytest.raises(Refusal) as caught:
        host.update(pids_max=9)
    assert caught.value.fields["field"] == "limits.pids_max"
    assert host.limits() == {"pids_max": 5}
    host.update(pids_max=9, timeout_seconds=0.5)
    assert host.limits() == {"pids_max": 9, "timeout_seconds": 0.5}
    assert host.names() == ["require"]


def test_a_job_that_starts_meanwhile_is_updated_as_one_that_runs(host: Host) -> None:
    host.add(running=False, pids_max=5)

    def begin(limits: JobLimits) -> None:
        host.step("require", limits)
        if host.row.state is State.QUEUED:
            host.store.mark_starting(JOB, 1, "boot")
            host.store.mark_running(JOB, 77, 1, None)

    host.require = begin  # type: ignore[method-assign]
    host.update(pids_max=9)
    assert host.names() == ["require", "intent", "cgroups", "monitor"]
    assert host.limits() == {"pids_max": 9}


def test_a_job_that_has_ended_or_is_ending_is_not_changed(host: Host) -> None:
    host.add(pids_max=5)
    host.is_there = False
    with pytest.raises(Refusal) as caught:
        host.update(pids_max=9)
    assert caught.value.code == "job-state"
    host.store.mark_ended(JOB, 5, "exit", b"", is_ok=True)
    with pytest.raises(Refusal) as caught:
        host.update(pids_max=9)
    assert (caught.value.code, caught.value.fields["given"]) == ("job-state", "ended")


@pytest.mark.parametrize("running", [False, True])
def test_the_job_of_a_hook_keeps_its_limits_and_its_priority(host: Host, *, running: bool) -> None:
    host.add(running=running, queue=HOOKS, pids_max=5, timeout_seconds=3)
    before = host.row
    requests: list[dict[str, Any]] = [
        {"timeout_seconds": 864_000}, {"timeout_seconds": None}, {"pids_max": 4}, {"priority": 9},
    ]  # fmt: skip
    for asked in requests:
        with pytest.raises(Refusal) as caught:
            host.update(**asked)
        assert (caught.value.code, caught.value.fields["field"]) == ("job-state", "job")
        assert "job of a hook" in caught.value.fields["detail"]
    assert (host.row, host.steps) == (before, [])


def test_a_damaged_record_costs_the_update_alone(host: Host) -> None:
    host.store.insert(new_job(b""))
    with pytest.raises(Refusal, match="damaged"):
        host.update(pids_max=9)


# --- after a crash ---


def test_an_update_that_was_under_way_is_finished(host: Host) -> None:
    host.add(pids_max=5)
    host.intent = {"limits": {"pids_max": 9}, "devices": {}, "uid": 7}
    host.settle()
    assert host.limits() == {"pids_max": 9}
    assert host.intent is None
    assert host.names() == ["intent", "cgroups", "monitor"]


def test_one_that_cannot_be_finished_is_taken_back(host: Host) -> None:
    host.add(pids_max=5)
    host.intent = {"limits": {"pids_max": 9}, "devices": {}, "uid": 7}
    host.fails["cgroups"] = LimitBelowUse("pids.max", 9, 12)
    host.settle()
    assert host.limits() == {"pids_max": 5}
    assert host.intent is None
    ((_, (old, new)),) = [step for step in host.steps if step[0] == "cgroups"]
    assert (old.pids_max, new.pids_max) == (9, 5)


def test_one_that_was_not_begun_changes_nothing(host: Host) -> None:
    host.add(pids_max=5)
    host.fails["read"] = records.RecordError("torn")
    host.settle()
    assert host.steps == []
    host.intent = {"limits": {"pids_max": 9}, "devices": {}, "uid": 7}
    host.store.mark_ended(JOB, 5, "exit", b"", is_ok=True)
    host.settle()
    assert host.steps == []


def test_a_monitor_that_was_told_before_is_told_again(host: Host) -> None:
    host.add(pids_max=5)
    host.has_file = True
    host.settle()
    assert host.steps == [("monitor", {"pids_max": 5})]
    host.fails["monitor"] = OSError(6, "gone")
    host.settle()


def test_the_clock_of_a_job_stands_still_while_it_is_paused(host: Host) -> None:
    host.add(started_ns=1)
    assert elapsed_ns(host.row, 101) == 100
    host.store.mark_paused(JOB, 51, 0)
    assert elapsed_ns(host.row, 1001) == 50
    host.store.mark_resumed(JOB, 1051, 0)
    assert elapsed_ns(host.row, 1061) == 60
    assert elapsed_ns(host.row, 0) == 0


@pytest.mark.parametrize(("asked", "cap"), [(50_000, 51_000), (5_000, 21_000)])
def test_a_job_that_may_write_more_has_a_monitor_that_may_hold_more_and_never_less(
    host: Host, asked: int, cap: int
) -> None:
    host.add(output_max_bytes=20_000, output_policy="end")
    host.update(output_max_bytes=asked)
    ((old, new),) = [what for name, what in host.steps if name == "cgroups"]
    assert (old.monitor_memory_max_bytes, new.monitor_memory_max_bytes) == (21_000, cap)


def test_a_monitor_that_may_hold_more_still_may_when_the_update_is_taken_back(host: Host) -> None:
    host.add(output_max_bytes=20_000, output_policy="end")
    host.fails["monitor"] = OSError(5, "broken")
    with pytest.raises(Refusal):
        host.update(output_max_bytes=50_000)
    caps = [limits.monitor_memory_max_bytes for name, what in host.steps if name == "cgroups"
            for limits in what]  # fmt: skip
    assert caps == [21_000, 51_000, 51_000, 51_000]


def test_a_lifted_limit_becomes_that_of_the_monitor_that_the_kernel_names(host: Host) -> None:
    """A stored pid may be another's by now."""
    host.add(rlimits={"core": [0, 0]})
    host.monitor_pids = [4242]
    host.update(rlimits={})
    assert dict(host.steps)["processes"] == {"core": (4242, 4242)}


# What it is promised


def test_a_promise_follows_the_limit_of_a_running_job(host: Host) -> None:
    host.add(memory_max_bytes=32 * MIB, reserved=32 * MIB, timeout_seconds=50)
    changed = host.update(memory_max_bytes=48 * MIB, timeout_seconds=100)
    assert changed.reserved_memory_bytes == 48 * MIB
    assert changed.time_limit_ms == 110_000
    assert host.queueing.scheduler.promised() == Needs(0, 48 * MIB)
    going = host.queueing.scheduler.going(JOB)
    assert going is not None
    assert going.time_limit_ms == 110_000


def test_a_reservation_of_its_own_stays_whatever_the_limit(host: Host) -> None:
    host.add(memory_max_bytes=32 * MIB, reserved=8 * MIB)
    assert host.update(memory_max_bytes=48 * MIB).reserved_memory_bytes == 8 * MIB


def test_a_promise_that_finds_no_room_is_refused_and_nothing_is_changed(host: Host) -> None:
    host.add(memory_max_bytes=32 * MIB, reserved=32 * MIB)
    other = "3f2a0000-0000-4000-8000-000000000002"
    new = msgspec.structs.replace(new_job(b""), id=other, submitted_by_uid=0)
    host.store.insert(msgspec.structs.replace(new, reserved_memory_bytes=60 * MIB))
    host.store.mark_starting(other, 1, "boot")
    with pytest.raises(Refusal) as caught:
        host.update(memory_max_bytes=48 * MIB)
    error = caught.value.to_wire()
    assert (error["code"], error["field"]) == ("limit-unavailable", "limits.memory_max_bytes")
    assert str(40 * MIB) in error["detail"]
    assert [name for name, _ in host.steps] == ["intent"]
    assert (host.intent, host.row.reserved_memory_bytes) == (None, 32 * MIB)


def test_a_promise_beyond_the_users_quota_is_refused(host: Host) -> None:
    host.add(running=False, memory_max_bytes=32 * MIB, reserved=32 * MIB)
    with pytest.raises(Refusal) as caught:
        host.update(memory_max_bytes=65 * MIB)
    assert caught.value.code == "quota-exceeded"
    assert host.row.reserved_memory_bytes == 32 * MIB


def test_an_update_that_fails_gives_the_promise_back(host: Host) -> None:
    host.add(memory_max_bytes=32 * MIB, reserved=32 * MIB)
    host.fails["cgroups"] = OSError(5, "broken")
    with pytest.raises(Refusal):
        host.update(memory_max_bytes=48 * MIB)
    assert host.queueing.scheduler.promised() == Needs(0, 32 * MIB)


def test_what_is_promised_less_is_free_only_when_all_is_done(host: Host) -> None:
    host.add(memory_max_bytes=48 * MIB, reserved=48 * MIB)
    host.fails["monitor"] = OSError(5, "broken")
    with pytest.raises(Refusal):
        host.update(memory_max_bytes=32 * MIB)
    assert host.queueing.scheduler.promised() == Needs(0, 48 * MIB)
    assert host.update(memory_max_bytes=32 * MIB).reserved_memory_bytes == 32 * MIB
    assert host.queueing.scheduler.promised() == Needs(0, 32 * MIB)


def test_the_priority_of_a_queued_job_is_changed_with_its_limits_or_without(host: Host) -> None:
    host.add(running=False)
    changed = host.update(priority=-3, pids_max=9)
    assert (changed.priority, stored.spec(changed)["limits"]["pids_max"]) == (-3, 9)
    assert host.update(priority=-7).priority == -7
    waiting = host.queueing.scheduler.get(JOB)
    assert waiting is not None
    assert waiting.priority == -7
    events = [event.data for event in host.store.events_since(0, 9) if event.kind == "update"]
    assert events == [
        {"by_uid": 7, "changed": "pids_max, priority"}, {"by_uid": 7, "changed": "priority"},
    ]  # fmt: skip


def test_a_job_that_runs_has_no_priority_to_change(host: Host) -> None:
    host.add()
    with pytest.raises(Refusal) as caught:
        host.update(priority=-3, pids_max=9)
    assert caught.value.to_wire()["code"] == "job-state"
    assert host.steps == []
