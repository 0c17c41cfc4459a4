"""Jobs of the store, found and listed. A part of `runner.store`; reads only.

A page looks at so many rows at most, whatever is asked for: this is everybody's loop. What is asked
for becomes SQL in `runner.selecting`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, overload

from client.protocol import MIN_JOB_PREFIX_CHARS
from runner import queries
from runner.lifecycle import State
from runner.rows import Attached, Job, Selection, state_of
from runner.selecting import Wanted
from runner.store_file import described
from runner.store_groups import PAGE_SPEC_BYTES, StoredGroups

if TYPE_CHECKING:
    from runner.group_rows import Group
    from runner.selecting import Query

MAX_MATCHES: Final = 20
# Rows that one page looks at, where it looks for some among others.
WINDOW: Final = 4096

_ALL: Final = Selection()


class _Bounds(NamedTuple):
    """Numbers below the one, above the other."""

    before: int
    above: int


_EVERYWHERE: Final = _Bounds(queries.MAX_INTEGER, 0)


class _Page:
    """What is on a page so far: at most `limit` entries, the next page begins at `below`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.entries: list[Job | Group] = []
        self.below = queries.MAX_INTEGER
        self._size = 0

    def add(self, job: Job) -> bool:
        """False when there is no room for it."""
        return self._add(job, len(job.spec), job.seq)

    def add_group(self, group: Group) -> bool:
        """The same for a group: what comes after it is older than each of its jobs."""
        return self._add(group, 0, group.first_seq)

    def _add(self, entry: Job | Group, size: int, below: int) -> bool:
        self._size += size
        if self.entries and (len(self.entries) == self.limit or self._size > PAGE_SPEC_BYTES):
            return False
        self.entries.append(entry)
        self.below = below
        return True


class StoredLists(StoredGroups):
    """The store's lists. Every method may raise StoreError."""

    def launched(self) -> list[Job]:
        """The jobs that are starting, running or paused, in the order of submission."""
        found = (self._recent.get(job_id) or self._read(job_id) for job_id in list(self._launched))
        return sorted((job for job in found if job is not None), key=lambda job: job.seq)

    def attached(self, job: Job) -> Attached:
        """Which of its labels, dependencies and hooks need be asked for."""
        known = self._attached.get(job.id)
        if known is not None:
            return known
        with described(self.path):
            row = self._db.execute(queries.ATTACHED, {"seq": job.seq, "id": job.id}).fetchone()
        return Attached._make(map(bool, row))

    def find(self, text: str, submitted_by_uid: int | None) -> list[Job]:
        """The jobs that `text` may mean to a submitter; None stands for who sees all.

        A full id; else the ids that begin with it, from 4 characters on, newest first and
        at most MAX_MATCHES; else the newest job of that name.
        """
        # Ids and names are printable ASCII. Anything else may not even be a valid string.
        if not (text.isascii() and text.isprintable()):
            return []
        job = self.get(text)
        if job is not None and submitted_by_uid in {None, job.submitted_by_uid}:
            return [job]
        return self._begins_with(text, submitted_by_uid) or self._named(text, submitted_by_uid)

    @overload
    def list_jobs(
        self,
        *,
        submitted_by_uid: int | None,
        include_ended: bool,
        limit: int,
        before: int | None,
        select: Selection | None = None,
        collapse: Literal[False] = False,
    ) -> tuple[list[Job], int | None]: ...

    @overload
    def list_jobs(
        self,
        *,
        submitted_by_uid: int | None,
        include_ended: bool,
        limit: int,
        before: int | None,
        select: Selection | None = None,
        collapse: bool,
    ) -> tuple[list[Job | Group], int | None]: ...

    def list_jobs(
        self,
        *,
        submitted_by_uid: int | None,
        include_ended: bool,
        limit: int,
        before: int | None,
        select: Selection | None = None,
        collapse: bool = False,
    ) -> tuple[Any, int | None]:
        """One page of jobs, newest first, and the `before` of the next page, None at the end.

        At most `limit` (at least 1) jobs, fewer when their specs together pass
        PAGE_SPEC_BYTES: argument lists and environments may be long. With a selection
        also fewer, even none, when it has looked at WINDOW rows. The states of a selection decide
        over `include_ended`. To `collapse`: in the place of the newest job of a group that would
        be given is the group, and what comes after it was submitted before it.
        """
        select = select or _ALL
        if select.states is None and not include_ended and not self._any_active():
            return [], None
        wanted = Wanted(select, submitted_by_uid, include_ended=include_ended)
        bounds = self._bounds(select.group_id)
        if wanted.is_nothing or bounds is None:
            return [], None
        older = bounds.before if before is None else max(min(before, bounds.before), 0)
        unreached = self._unreached(wanted.window(older, WINDOW))
        page = _Page(limit)
        above = max(unreached, bounds.above)
        if self._fill(page, wanted, _Bounds(older, above), collapse=collapse):
            return page.entries, page.below
        if unreached <= bounds.above:
            return page.entries, None
        # A group's jobs may go on beyond what was looked at.
        return page.entries, min(above + 1, page.below)

    def matching(self, select: Selection, submitted_by_uid: int | None) -> list[tuple[str, State]]:
        """Id and state of every job that is meant and has not ended, in the order of submission."""
        states = select.states
        if states is not None:
            select = select._replace(states=tuple(s for s in states if s is not State.ENDED))
        wanted = Wanted(select, submitted_by_uid, include_ended=False)
        bounds = self._bounds(select.group_id)
        if wanted.is_nothing or bounds is None:
            return []
        query = wanted.every(*bounds)
        with described(self.path):
            rows = self._db.execute(query.text, query.values).fetchall()
            return [(job_id, state_of(state)) for job_id, state in rows]

    def _any_active(self) -> bool:
        counts = self._counts
        return any(counts[state] for state in counts if state is not State.ENDED)

    def _bounds(self, group_id: str | None) -> _Bounds | None:
        """Between which numbers the jobs of a group are; None: there is no such group."""
        if group_id is None:
            return _EVERYWHERE
        group = self.group(group_id)
        if group is None:
            return None
        return _Bounds(group.first_seq + group.size, group.first_seq - 1)

    def _fill(self, page: _Page, wanted: Wanted, bounds: _Bounds, *, collapse: bool) -> bool:
        """Put jobs and groups on a page. False when there are no more of them."""
        below: int | None = bounds.before
        while below is not None:
            query = wanted.page(below, bounds.above, page.limit + 1)
            below = None
            with contextlib.closing(self._jobs(query.text, **query.values)) as found:
                for job in found:
                    # One whose group cannot be read is shown itself.
                    group = self.group(job.group_id) if collapse and job.group_id else None
                    if not (page.add(job) if group is None else page.add_group(group)):
                        return True
                    if group is not None:
                        below = group.first_seq
                        break
        return False

    def _unreached(self, window: Query) -> int:
        """The newest row that a page is not to look at; 0 when it may look at all."""
        if not window.is_filtered:
            return 0
        with described(self.path):
            row = self._db.execute(window.text, window.values).fetchone()
        return 0 if row is None else int(row[0])

    def _begins_with(self, prefix: str, uid: int | None) -> list[Job]:
        if len(prefix) < MIN_JOB_PREFIX_CHARS:
            return []
        # DEL comes after every printable character.
        high = f"{prefix}\x7f"
        return list(
            self._jobs(queries.BY_PREFIX, low=prefix, high=high, uid=uid, limit=MAX_MATCHES)
        )

    def _named(self, name: str, uid: int | None) -> list[Job]:
        if uid is None:
            return list(self._jobs(queries.NEWEST_NAMED, name=name))
        return list(self._jobs(queries.NEWEST_NAMED_OF, name=name, uid=uid))
