"""Whose array or flow is prepared at the moment, so that what is held of them stays bounded.

How one is prepared is `runner.group_submission`'s; who asks for a turn, `runner.server.submitting`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from runner.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Groups that are prepared at once: the specs of a flow are held until its last step was checked,
# which takes as long as the file systems that its submitter names
# (`runner.group_submission.MOST_SPEC_BYTES` of each).
MOST_PREPARED: Final = 8
_WAIT_SECONDS: Final = 30.0


class Preparing:
    """Whose group is prepared: one of each user, MOST_PREPARED in all. For the event loop alone."""

    def __init__(self) -> None:
        self._of: dict[int, asyncio.Semaphore] = {}
        self._all = asyncio.Semaphore(MOST_PREPARED)

    @contextlib.asynccontextmanager
    async def one_of(self, uid: int) -> AsyncIterator[None]:
        """Wait for the user's own group of before, then until few enough of others are prepared.

        Root waits for its own alone. Raises Refusal: those of others take too long.
        """
        async with self._of.setdefault(uid, asyncio.Semaphore(1)):
            if uid == 0:
                yield
                return
            try:
                async with asyncio.timeout(_WAIT_SECONDS):
                    await self._all.acquire()
            except TimeoutError:
                raise Refusal(
                    "too-many-requests", allowed=f"{MOST_PREPARED} arrays and flows at once",
                    detail="those of other users take long to be checked; try again later",
                ) from None  # fmt: skip
            try:
                yield
            finally:
                self._all.release()
