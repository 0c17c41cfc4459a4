"""Whatever people do, every decision is right and every job ends once. See tests/simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runner.scheduling.kinds import Capacity, Dependency, Needs, Queue, Quota, Waiting
from tests.simulation.checks import Checks
from tests.simulation.world import Plan, World

if TYPE_CHECKING:
    from runner.scheduling.kinds import Met

SECOND = 10**9
QUICK = settings(
    max_examples=60, stateful_step_count=40, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

needs = st.builds(Needs, st.sampled_from([0, 1, 2, 4, 9]), st.sampled_from([0, 1, 3, 8, 20]))
priorities = st.sampled_from([-1, 0, 0, 0, 1])
names = st.sampled_from(["default", "default", "capped", "urgent", "unknown", "apart"])
kinds = st.sampled_from(["ok", "any", "fail", "started"])
QUOTAS = {2: Quota(max_running=2), 3: Quota(max_memory_bytes=8, max_millicpus=5)}


class People(RuleBasedStateMachine):
    """Jobs of four users on a machine with 4 slots, 8 CPUs and 16 of memory."""

    def __init__(self) -> None:
        super().__init__()
        apart = Queue("apart", 10**6, 2, apart=True, user_cap=1)
        queues = [Queue("default"), Queue("capped", 0, 1), Queue("urgent", 5), apart]
        self.world = World(Capacity(4, Needs(8, 16)), queues, lambda uid: QUOTAS.get(uid, Quota()))
        self.count = 0

    @rule(
        uid=st.integers(0, 3), queue=names, priority=priorities, needs=needs,
        limit=st.sampled_from([None, 1000, 5000]), run=st.integers(1, 8), ok=st.booleans(),
        wait=st.sampled_from([None, None, -1, 3]), deadline=st.sampled_from([None, None, 6]),
        held=st.sampled_from([False, False, False, True]), attempts=st.sampled_from([1, 1, 2]),
        group=st.sampled_from([None, None, "array"]), data=st.data(),
    )  # fmt: skip
    def submit(
        self,
        *,
        uid: int,
        queue: str,
        priority: int,
        needs: Needs,
        limit: int | None,
        run: int,
        ok: bool,
        wait: int | None,
        deadline: int | None,
        held: bool,
        attempts: int,
        group: str | None,
        data: st.DataObject,
    ) -> None:
        now = self.world.now_ns
        after: tuple[Dependency, ...] = ()
        if self.count and data.draw(st.booleans()):
            ids = st.integers(0, self.count - 1).map(lambda n: f"{n:04}")
            chosen = data.draw(st.dictionaries(ids, kinds, max_size=3))
            after = tuple(Dependency(on_id, kind) for on_id, kind in chosen.items())
        job = Waiting(
            f"{self.count:04}", uid, queue, priority, self.count, needs,
            None if wait is None else now + wait * SECOND,
            None if deadline is None else now + deadline * SECOND,
            held, after, limit, group, None if group is None else self.world.caps.get(group, 2),
        )  # fmt: skip
        if limit is not None:
            run = min(run, limit // 1000)
        self.world.submit(job, Plan(run * SECOND, ok, attempts))
        self.count += 1

    def _some(self, data: st.DataObject) -> Waiting:
        return self.world.waiting[data.draw(st.sampled_from(sorted(self.world.waiting)))]

    @precondition(lambda self: self.world.waiting)
    @rule(data=st.data(), priority=priorities, held=st.booleans(), queue=names, rank=st.integers())
    def change(
        self, *, data: st.DataObject, priority: int, held: bool, queue: str, rank: int
    ) -> None:
        job = self._some(data)
        self.world.change(job._replace(priority=priority, is_held=held, queue=queue, rank=rank))

    @precondition(lambda self: self.world.waiting)
    @rule(data=st.data())
    def stop_waiting(self, data: st.DataObject) -> None:
        self.world.stop(self._some(data).id)

    @precondition(lambda self: self.world.going)
    @rule(data=st.data())
    def stop_going(self, data: st.DataObject) -> None:
        self.world.stop(data.draw(st.sampled_from(sorted(self.world.going))))

    @precondition(lambda self: self.world.ends)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self.world.remove(data.draw(st.sampled_from(sorted(self.world.ends))))

    @precondition(lambda self: self.world.going)
    @rule(data=st.data(), needs=needs)
    def resize(self, data: st.DataObject, needs: Needs) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.world.going)))
        if self.world.scheduler.resize(job_id, needs):
            self.world.going[job_id] = self.world.going[job_id]._replace(needs=needs)

    @rule(
        ons=st.lists(st.sampled_from([None, "ok", "any", "fail"]), min_size=1, max_size=4),
        cap=st.sampled_from([None, 1, 2]), needs=needs, ok=st.booleans(),
        attempts=st.sampled_from([1, 2]), queue=names,
    )  # fmt: skip
    def submit_flow(
        self,
        *,
        ons: list[Met | None],
        cap: int | None,
        needs: Needs,
        ok: bool,
        attempts: int,
        queue: str,
    ) -> None:
        """Each after the one before, or after none; and one job after all of it."""
        name, jobs = f"flow-{self.count}", []
        for on in ons:
            after = (Dependency(f"{self.count - 1:04}", on),) if on and jobs else ()
            job = Waiting(f"{self.count:04}", 1, queue, 0, self.count, needs, after=after)
            jobs.append((job._replace(group=name, group_cap=cap), Plan(SECOND, ok, attempts)))
            self.count += 1
        self.world.submit_group(name, jobs)
        last = Waiting(f"{self.count:04}", 2, queue, 0, self.count, after=(Dependency(name, "ok"),))
        self.world.submit(last, Plan(SECOND))
        self.count += 1

    @precondition(lambda self: self.world.caps)
    @rule(data=st.data(), cap=st.sampled_from([None, 1, 3]))
    def cap_group(self, data: st.DataObject, cap: int | None) -> None:
        self.world.cap_group(data.draw(st.sampled_from(sorted(self.world.caps))), cap)

    @rule(cap=st.sampled_from([None, 0, 1, 3]), paused=st.booleans(), priority=priorities)
    def set_queue(self, *, cap: int | None, paused: bool, priority: int) -> None:
        self.world.set_queue(Queue("capped", priority, cap, paused))

    @rule(slots=st.integers(1, 5), cpus=st.integers(1, 9), memory=st.integers(1, 20))
    def set_capacity(self, slots: int, cpus: int, memory: int) -> None:
        self.world.set_capacity(Capacity(slots, Needs(cpus, memory)))

    @rule(may_start=st.sampled_from([True, True, False]))
    def drain(self, *, may_start: bool) -> None:
        self.world.may_start = may_start

    @rule(seconds=st.integers(0, 3))
    def time_passes(self, seconds: int) -> None:
        self.world.tick(seconds * SECOND)
        self.world.decide()

    @rule(seconds=st.sampled_from([-20, -2, 2, 20]))
    def clock_is_set(self, seconds: int) -> None:
        self.world.now_ns += seconds * SECOND

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @invariant()
    def a_decision_is_complete(self) -> None:
        self.world.decide()
        self.world.check()
        Checks(self.world).explanations()

    def teardown(self) -> None:
        """Nothing is held, paused or unknown any more: every job ends, once."""
        self.world.may_start = True
        self.world.set_capacity(Capacity(4, Needs(8, 16)))
        self.world.set_queue(Queue("capped", 0, 1))
        self.world.set_queue(Queue("unknown"))
        for job in list(self.world.waiting.values()):
            self.world.change(job._replace(is_held=False))
        # Which were beyond their user's quota wait for another one.
        self.world.quota_of = lambda _uid: Quota()
        self.world.restart()
        self.world.run_dry()
        assert not self.world.waiting
        assert not self.world.going
        assert len(self.world.fates) == self.count


TestPeople = People.TestCase
TestPeople.settings = QUICK
