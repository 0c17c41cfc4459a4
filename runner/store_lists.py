"""Jobs of the store, found and listed. A part of `runner.store`; reads only.

A page looks at so many rows at most, whatever is asked for: this is everybody's loop. What is asked
for becomes SQL in `runner.selecting`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from client.protocol import MIN_JOB_PREFIX_CHARS
from runner import queries
from runner.lifecycle import State
from runner.rows import Job, Selection, state_of
from runner.selecting import Wanted
from runner.store_base import StoreBase
from runner.store_file import described

if TYPE_CHECKING:
    from runner.selecting import Query

MAX_MATCHES: Final = 20
# What one page reads of specs. How much is sent of it, and of the rest, is counted where it is
# sent (`runner.server.pages`).
PAGE_SPEC_BYTES: Final = 3 * 1024 * 1024
# Rows that one page looks at, where it looks for some among others.
WINDOW: Final = 4096

_ALL: Final = Selection()


class StoredLists(StoreBase):
    """The store's lists. Every method may raise StoreError."""

    def launched(self) -> list[Job]:
        """The jobs that are starting, running or paused, in the order of submission."""
        return list(self._jobs(queries.LAUNCHED))

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

    def list_jobs(
        self,
        *,
        submitted_by_uid: int | None,
        include_ended: bool,
        limit: int,
        before: int | None,
        select: Selection | None = None,
    ) -> tuple[list[Job], int | None]:
        """One page of jobs, newest first, and the `before` of the next page, None at the end.

        At most `limit` (at least 1) jobs, fewer when their specs together pass
        PAGE_SPEC_BYTES: argument lists and environments may be long. With a selection
        also fewer, even none, when it has looked at WINDOW rows. The states of a selection decide
        over `include_ended`.
        """
        wanted = Wanted(select or _ALL, submitted_by_uid, include_ended=include_ended)
        if wanted.is_nothing:
            return [], None
        older = queries.MAX_INTEGER if before is None else min(before, queries.MAX_INTEGER)
        older = max(older, 0)
        above = self._unreached(wanted.window(older, WINDOW))
        query = wanted.page(older, above, limit + 1)
        found = self._jobs(query.text, **query.values)
        page: list[Job] = []
        size = 0
        with contextlib.closing(found):
            for job in found:
                size += len(job.spec)
                if page and (len(page) == limit or size > PAGE_SPEC_BYTES):
                    return page, page[-1].seq
                page.append(job)
        return page, above + 1 if above else None

    def matching(self, select: Selection, submitted_by_uid: int | None) -> list[tuple[str, State]]:
        """Id and state of every job that is meant and has not ended, in the order of submission."""
        states = select.states
        if states is not None:
            select = select._replace(states=tuple(s for s in states if s is not State.ENDED))
        wanted = Wanted(select, submitted_by_uid, include_ended=False)
        if wanted.is_nothing:
            return []
        query = wanted.every()
        with described(self.path):
            rows = self._db.execute(query.text, query.values).fetchall()
            return [(job_id, state_of(state)) for job_id, state in rows]

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
