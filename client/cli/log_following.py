"""Several jobs' output as it grows: a thread a job, and one reader for them all.

What was read and not yet shown is bounded: a slow terminal holds back every thread, and so the
daemon. Which part of a log is read is `client.cli.log_sources`'s, how it looks
`client.cli.log_views`'s.
"""

from __future__ import annotations

from threading import Condition, Thread
from typing import TYPE_CHECKING, Final

from client.cli.log_sources import Batch
from client.errors import RequestRefused
from client.logstream import LogChunk, LogGap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from client.cli.log_sources import Log, Refused
    from client.cli.log_views import View

# What may wait: some events' worth. An item has a cost of its own, however short it is.
_WAITING_BYTES: Final = 4 * 1024 * 1024
_ITEM_BYTES: Final = 256


def follow_several(logs: Sequence[Log], view: View, refused: Refused) -> None:
    """Show several logs as they grow, until all have ended."""
    funnel = _Funnel()
    for log in logs:
        Thread(target=_read, args=(log, funnel), daemon=True).start()
    try:
        for _ in logs:
            _show_until_one_ends(funnel, view, refused)
    finally:
        funnel.close()
        for log in logs:
            log.stream.cancel()


def _show_until_one_ends(funnel: _Funnel, view: View, refused: Refused) -> None:
    while True:
        log, news = funnel.get()
        if isinstance(news, Batch):
            if news.begun is not None:
                view.begin(log, news.begun)
            view.write(log, news.items)
            log.shown = news.cursor
            continue
        view.end(log)
        if isinstance(news, RequestRefused):
            refused(log.asked, news)
        elif news is not None:
            raise news
        else:
            log.shown = log.place
        return


def _read(log: Log, funnel: _Funnel) -> None:
    """A thread's work: everything of one log, then None or what went wrong."""
    try:
        for batch in log.batches():
            weight = sum(_weight(item) for item in batch.items)
            if not funnel.put(log, batch, weight):
                return
        end: Exception | None = None
    except Exception as error:  # noqa: BLE001  raised again by who gets it
        end = error
    funnel.put(log, end, 0)


def _weight(item: LogChunk | LogGap) -> int:
    return _ITEM_BYTES + (len(item.data) if isinstance(item, LogChunk) else 0)


class _Funnel:
    """What several threads have read, for one reader. Who is faster than the reader waits."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._waiting: list[tuple[Log, Batch | Exception | None, int]] = []
        self._weight = 0
        self._is_closed = False

    def put(self, log: Log, news: Batch | Exception | None, weight: int) -> bool:
        """Hand it on, when there is room. False when nobody reads any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._weight < _WAITING_BYTES or self._is_closed)
            self._waiting.append((log, news, weight))
            self._weight += weight
            self._changed.notify_all()
            return not self._is_closed

    def get(self) -> tuple[Log, Batch | Exception | None]:
        """The next one, once there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            log, news, weight = self._waiting.pop(0)
            self._weight -= weight
            self._changed.notify_all()
            return log, news

    def close(self) -> None:
        """Nobody reads any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
