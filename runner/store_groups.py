"""Arrays and flows: kept with their jobs, found, counted, tried again. A part of the store.

A group is committed with all of its jobs, whose numbers follow each other. What they have in common
is kept once; `runner.store_base` gives it to each and counts who ends, because every end of a job
does that. What a group may do is `runner.group_requests`', its SQL `runner.group_rows`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from client.protocol import MIN_JOB_PREFIX_CHARS
from runner import group_rows as sql
from runner import queries
from runner.group_rows import About, FailedMember, Group, GroupCounts, sound_groups
from runner.lifecycle import State
from runner.rows import DamagedRowError, Job, state_of
from runner.store_base import NoSuchGroupError
from runner.store_file import described
from runner.store_hooks import StoredHooks

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from runner.group_rows import NewGroup
    from runner.rows import EventData, Launch, NewJob, Row, Value

SUBMIT: Final = "submit"
GROUP_SUBMIT: Final = "group-submit"
GROUP_UPDATE: Final = "group-update"

MAX_MATCHES: Final = 20
# What one page reads of specs. How much is sent of it, and of the rest, is counted where it is
# sent (`runner.server.pages`).
PAGE_SPEC_BYTES: Final = 3 * 1024 * 1024


class StoredGroups(StoredHooks):
    """The store's groups. Every method may raise StoreError."""

    def insert_group(
        self, new: NewGroup, jobs: Sequence[NewJob], met: Container[str] = ()
    ) -> Group:
        """Keep a new group and its jobs, at least one, queued: all of them or none.

        Their numbers are in the order given. Of what they come after, those in `met` have become
        it. A key that the submitter has given to another group is refused: `keyed_group` tells.
        """
        values = msgspec.structs.asdict(new)
        with self._transaction():
            first = self._insert_jobs(jobs, met)
            values |= {"size": len(jobs), "unended": len(jobs), "first_seq": first}
            seq = self._db.execute(sql.INSERT, values).lastrowid
            if new.spec is not None:
                self._db.execute(sql.INSERT_SPEC, {"seq": seq, "spec": new.spec})
            self._insert_hooks(new.id, new.hooks)
            self._db.executemany(queries.INSERT_EVENT, map(_submission, jobs))
            about: EventData = {"submitted_by_uid": new.submitted_by_uid, "jobs": len(jobs)}
            self._record(new.id, new.submitted_ns, GROUP_SUBMIT, about, new.submitted_by_uid)
        for job in jobs:
            self._has_moved(job.id, None, State.QUEUED, job.submitted_by_uid)
        return self._existing_group(new.id)

    # Groups

    def group(self, group_id: str) -> Group | None:
        """The group of this full id."""
        found = self._groups(sql.BY_ID, id=group_id)
        return found[0] if found else None

    def keyed_group(self, submitted_by_uid: int, key: str) -> Group | None:
        """The group that a submitter has given this idempotency key, unless it was removed."""
        found = self._groups(sql.BY_KEY, uid=submitted_by_uid, key=key)
        return found[0] if found else None

    def find_groups(self, text: str, submitted_by_uid: int | None) -> list[Group]:
        """The groups that `text` may mean to a submitter; None stands for who sees all.

        A full id; else the ids that begin with it, from 4 characters on, newest first and
        at most MAX_MATCHES; else the newest group of that name.
        """
        # Ids and names are printable ASCII. Anything else may not even be a valid string.
        if not (text.isascii() and text.isprintable()):
            return []
        group = self.group(text)
        if group is not None and submitted_by_uid in {None, group.submitted_by_uid}:
            return [group]
        found = []
        if len(text) >= MIN_JOB_PREFIX_CHARS:
            # DEL comes after every printable character.
            found = self._groups(
                sql.BY_PREFIX, low=text, high=f"{text}\x7f", uid=submitted_by_uid, limit=MAX_MATCHES
            )
        return found or self._groups(sql.NAMED, name=text, uid=submitted_by_uid)

    def group_about(self, group: Group) -> About:
        """What a group looks like, as it was asked for. Raises DamagedRowError."""
        with described(self.path):
            row = self._db.execute(sql.ABOUT, {"id": group.id}).fetchone()
        # What was removed since is as if it were damaged.
        about = row[0] if row is not None and isinstance(row[0], bytes) else b""
        try:
            return msgspec.msgpack.decode(about, type=About)
        except msgspec.MsgspecError as error:
            raise DamagedRowError(f"what group {group.id} looks like is damaged: {error}") from None

    def set_group_max_running(
        self, group_id: str, max_running: int | None, time_ns: int, by_uid: int
    ) -> Group:
        """How many jobs of a group run at once at most; None: no bound. Raises NoSuchGroupError."""
        with self._transaction():
            group = self._existing_group(group_id)
            self._db.execute(sql.SET_CAP, {"id": group_id, "max_running": max_running})
            about: EventData = {"by_uid": by_uid, "max_running": max_running or 0}
            self._record(group_id, time_ns, GROUP_UPDATE, about, group.submitted_by_uid)
        return self._existing_group(group_id)

    # Their jobs

    def group_counts(self, group_id: str) -> GroupCounts:
        """How many jobs of a group are in which state, without those that were removed."""
        with described(self.path):
            return GroupCounts._make(self._db.execute(sql.COUNTS, {"id": group_id}).fetchone())

    def member(self, group_id: str, number: int) -> Job | None:
        """One job of a group: its index in an array, its number in a flow."""
        found = list(self._jobs(sql.MEMBER, id=group_id, member=number))
        return found[0] if found else None

    def member_named(self, group: Group, name: str) -> Job | None:
        """The job of a group that has this name."""
        # Names are printable ASCII. Anything else may not even be a valid string.
        if not (name.isascii() and name.isprintable()):
            return None
        end = group.first_seq + group.size
        found = self._jobs(sql.MEMBER_NAMED, id=group.id, name=name, first=group.first_seq, end=end)
        return next(iter(list(found)), None)

    def members(self, group_id: str, after: int, limit: int) -> tuple[list[Job], int | None]:
        """One page of a group's jobs, those with a number above `after`, by their numbers.

        And after which the next page begins, None at the end. At most `limit` (at least 1) jobs,
        fewer when their specs together pass PAGE_SPEC_BYTES.
        """
        page: list[Job] = []
        size = 0
        for job in self._jobs(sql.MEMBERS, id=group_id, after=after, limit=limit + 1):
            size += len(job.spec)
            if page and (len(page) == limit or size > PAGE_SPEC_BYTES):
                return page, page[-1].member
            page.append(job)
        return page, None

    def member_states(self, group_id: str) -> list[tuple[str, State]]:
        """Id and state of every job of a group, by their numbers."""
        with described(self.path):
            rows = self._db.execute(sql.STATES, {"id": group_id}).fetchall()
            return [(job_id, state_of(state)) for job_id, state in rows]

    def steps_before(self, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Of jobs and what each comes after: the names of those that are steps of its own flow.

        By their ids. What cannot be read has no name.
        """
        steps: dict[str, str] = {}
        with described(self.path):
            for job_id, on_id in pairs:
                values = {"id": job_id, "on_id": on_id}
                row = self._db.execute(sql.STEP_BEFORE, values).fetchone()
                name = None if row is None else sql.step_name(*row)
                if name is not None:
                    steps[on_id] = name
        return steps

    def failed_members(self, group_id: str) -> list[FailedMember]:
        """The jobs of a group that have ended, and not well, by their numbers."""
        unmet: dict[str, list[str]] = {}
        with described(self.path):
            for job_id, on_id in self._db.execute(sql.UNMET, {"id": group_id}):
                unmet.setdefault(job_id, []).append(on_id)
            rows = self._db.execute(sql.FAILED_MEMBERS, {"id": group_id}).fetchall()
        return [FailedMember._make((*row, tuple(unmet.get(row[0], ())))) for row in rows]

    def first_failed(self, group_id: str) -> Job | None:
        """The first job of a group, by its number, that has failed; skipped ones have not."""
        found = list(self._jobs(sql.FIRST_FAILED, id=group_id))
        return found[0] if found else None

    def _insert_jobs(
        self, jobs: Sequence[NewJob], met: Container[str], launch: Launch | None = None
    ) -> int:
        """The rows of new jobs, within a transaction; the number of the first."""
        state: Row = (State.QUEUED.value, None, 0)
        if launch is not None:
            state = (State.STARTING.value, launch.boot_id, 1)
        rows = ((*queries.new_values(new), len(new.after), *state) for new in jobs)
        # Never None: it was inserted. Nobody else takes a number within the transaction.
        first = self._db.execute(queries.INSERT, next(rows)).lastrowid or 0
        self._db.executemany(queries.INSERT, rows)
        numbered = list(enumerate(jobs, start=first))
        specs = ((seq, new.spec) for seq, new in numbered if new.spec or not new.group_id)
        self._db.executemany(queries.INSERT_SPEC, specs)
        labels = ((seq, *label) for seq, new in numbered for label in new.labels.items())
        self._db.executemany(queries.INSERT_LABEL, labels)
        after = (
            (seq, on_id, kind, on_id in met) for seq, new in numbered for on_id, kind in new.after
        )
        self._db.executemany(queries.INSERT_DEPENDENCY, after)
        return first

    def _existing_group(self, group_id: str) -> Group:
        group = self.group(group_id)
        if group is None:
            raise NoSuchGroupError(f"there is no group {group_id}")
        return group

    def _groups(self, query: str, **values: Value) -> list[Group]:
        with described(self.path):
            return list(sound_groups(self._db.execute(query, values).fetchall()))


def _submission(new: NewJob) -> tuple[Value, ...]:
    """The event of a job's submission, as it is bound."""
    about = {"submitted_by_uid": new.submitted_by_uid, "uid": new.uid}
    data = msgspec.msgpack.encode(about)
    return (new.id, new.submitted_ns, SUBMIT, data, new.submitted_by_uid)
