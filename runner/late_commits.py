"""Sees to it that what the store may commit with something else is committed soon all the same.

In the event loop's thread. What may wait, and that it is there before anything is read, is
`runner.store_commits`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runner.store import Store
    from runner.work import Work

LATEST_SECONDS: Final = 0.05


class LateCommits:
    """One timer for whatever waits, however many jobs begin meanwhile."""

    def __init__(self, store: Store, work: Work) -> None:
        self._store, self._work = store, work
        # Since when something has waited, as the loop counts.
        self._since = 0.0
        self._is_set = False
        self._closed = False
        store.on_deferred = self._noted

    def close(self) -> None:
        """Leave it to the store's end."""
        self._closed = True

    def _noted(self) -> None:
        self._since = self._work.loop.time()
        if not self._is_set:
            self._set()

    def _set(self) -> None:
        self._is_set = True
        self._work.loop.call_at(self._since + LATEST_SECONDS, self._commit)

    def _commit(self) -> None:
        self._is_set = False
        if self._closed or not self._store.has_deferred:
            return
        # What the timer was set for may be committed by now, and this be another.
        if self._work.loop.time() < self._since + LATEST_SECONDS:
            self._set()
        else:
            self._work.now_or_later(self._store.commit_deferred)
