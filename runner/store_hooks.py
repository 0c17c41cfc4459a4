"""Hooks of jobs and groups, and the calls of them that are due. A part of the store.

A call is committed with the change that it is for, and deleted with the insertion of the job that
it is run as: so none is lost and none is made twice, whenever the daemon is killed. Who makes
them is `runner.hook_calls`; what hooks are is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from runner import hook_rows as sql
from runner.hook_rows import About, Hook, HookCall
from runner.rows import Total
from runner.store_base import StoreBase
from runner.store_file import described

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from runner.rows import EventData, Job, NewHook

_NONE = Total(0, 0)


class StoredHooks(StoreBase):
    """The store's hooks. `on_calls` is told, after a commit, that calls have become due.

    Every method may raise StoreError.
    """

    def __init__(self, db: sqlite3.Connection, path: str) -> None:
        super().__init__(db, path)
        self.on_calls: Callable[[], None] | None = None
        self._calls: dict[int, Total] = {}
        # Of the transaction under way: what counts once it is committed.
        self._more_calls: list[tuple[int, int, int]] = []
        with described(path):
            for uid, count, size in db.execute(sql.COUNT_CALLS):
                self._calls[uid] = Total(count, size)

    def hooks(self, owner_id: str) -> list[Hook]:
        """The hooks of a job or a group."""
        with described(self.path):
            rows = self._db.execute(sql.OF_OWNER, {"id": owner_id}).fetchall()
        return [Hook(tuple(events.split(",")), template) for events, template in rows]

    def newest_keyed(self, uid: int, prefix: str) -> Job | None:
        """The job of a submitter with the last of the idempotency keys that begin so."""
        # DEL comes after every printable character.
        found = list(self._jobs(sql.NEWEST_KEYED, uid=uid, low=prefix, high=f"{prefix}\x7f"))
        return found[0] if found else None

    def calls_of(self, uid: int) -> Total:
        """How many calls of a user's hooks wait, and what they take. Costs nothing."""
        return self._calls.get(uid, _NONE)

    def calls(self, after: int, limit: int) -> list[tuple[int, int]]:
        """Calls that wait, by their numbers, those beyond `after`; and of whom each is."""
        values = {"after": after, "limit": limit}
        with described(self.path):
            return self._db.execute(sql.CALLS, values).fetchall()

    def call(self, seq: int) -> HookCall | None:
        """A call that waits. One that is damaged counts for none."""
        with described(self.path):
            row = self._db.execute(sql.CALL, {"seq": seq}).fetchone()
        try:
            if row is not None:
                about = msgspec.msgpack.decode(row[6], type=About)
                return msgspec.convert((*row[:6], about, row[7]), HookCall, builtin_types=(bytes,))
        except (msgspec.MsgspecError, TypeError):
            return None
        return None

    def drop_call(self, call: HookCall, time_ns: int, refused: str) -> None:
        """A call is not made, and why: that is an event of its job or group."""
        with self._transaction():
            self._forget_call(call.seq)
            about: EventData = {"event": call.event, "refused": refused}
            self._record(call.owner_id, time_ns, sql.REFUSED, about, call.uid)

    def forget_call(self, seq: int) -> None:
        """A call is not to be made, and nobody need be told."""
        with self._transaction():
            self._forget_call(seq)

    # Within a transaction of the other parts

    def _insert_hooks(self, owner_id: str, hooks: Sequence[NewHook]) -> None:
        """Keep what a new job or group has."""
        rows = (
            {"owner_id": owner_id, "number": n, "events": ",".join(events), "template": template}
            for n, (events, template) in enumerate(hooks)
        )
        self._db.executemany(sql.INSERT, rows)

    def _forget_call(self, seq: int) -> None:
        """A job is inserted for a call, or it is dropped."""
        row = self._db.execute(sql.CALL_SIZE, {"seq": seq}).fetchone()
        if row is not None:
            self._db.execute(sql.DELETE_CALL, {"seq": seq})
            self._more_calls.append((row[0], -1, -row[1]))

    def _record(self, job_id: str, time_ns: int, kind: str, about: EventData, uid: int) -> None:
        super()._record(job_id, time_ns, kind, about, uid)
        if kind in sql.EVENTS and not self._attached.has_no_hooks(job_id):
            self._due(job_id, kind, time_ns, about, uid)

    def _due(self, owner_id: str, kind: str, time_ns: int, about: EventData, uid: int) -> None:
        """Note the calls that a change brings about. Of most jobs there is no hook."""
        wanted = self._db.execute(sql.WANTED, {"id": owner_id}).fetchall()
        if not wanted:
            return
        facts = self._facts(owner_id, kind, about)
        events = sql.happened(kind, facts.is_ok)
        values: dict[str, Any] = {"id": owner_id, "time_ns": time_ns, "uid": uid}
        values["about"] = msgspec.msgpack.encode(facts)
        for number, names, size in wanted:
            event = sql.chosen(names, events)
            if event is None:
                continue
            if self._has_room(uid, size):
                self._db.execute(sql.INSERT_CALL, {**values, "event": event, "number": number})
                self._more_calls.append((uid, 1, size))
            else:
                refused = f"{self.calls_of(uid).jobs} calls of your hooks wait already"
                told: EventData = {"event": event, "refused": refused}
                super()._record(owner_id, time_ns, sql.REFUSED, told, uid)

    def _has_room(self, uid: int, size: int) -> bool:
        calls = self.calls_of(uid)
        for each, count, more in self._more_calls:
            if each == uid:
                calls = calls.plus(count, more)
        return calls.jobs < sql.MOST_CALLS and calls.bytes + size <= sql.MOST_CALL_BYTES

    def _facts(self, owner_id: str, kind: str, about: EventData) -> About:
        if kind == sql.GROUP_ENDED:
            row = self._db.execute(sql.OF_GROUP, {"id": owner_id}).fetchone()
            name, size = (None, None) if row is None else row
            failed = about.get("failed")
            return About(
                is_group=True, name=name, state="ended", is_ok=bool(about.get("ok")), jobs=size,
                failed=failed if isinstance(failed, int) else None,
            )  # fmt: skip
        name, state, attempt, reason, result, fate = self._db.execute(
            sql.OF_JOB, {"id": owner_id}
        ).fetchone()
        if kind == "retry":
            reason = about.get("reason")
            (result,) = self._db.execute(sql.LAST_RESULT, {"id": owner_id}).fetchone() or (None,)
        return About(
            name=name, state=state, attempt=attempt, reason=reason, result=result,
            is_ok=None if fate is None else fate == "ok",
        )  # fmt: skip

    def _begin(self) -> None:
        super()._begin()
        self._more_calls = []

    def _committed(self) -> None:
        super()._committed()
        is_due = False
        for uid, count, size in self._more_calls:
            calls = self.calls_of(uid).plus(count, size)
            is_due = is_due or count > 0
            if calls.jobs:
                self._calls[uid] = calls
            else:
                self._calls.pop(uid, None)
        if is_due and self.on_calls is not None:
            self.on_calls()
