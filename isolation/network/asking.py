"""Whose host names are resolved when: many jobs may ask, and nobody keeps another one waiting.

How a name is resolved is `isolation.network.resolver`'s; here are threads for it and turns. Names
are of a user's choice and may never be answered.
"""

from __future__ import annotations

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from isolation.network import resolver
from isolation.network.errors import PrivateNetworkError

# Jobs whose names are being resolved, all together and of one user; and names of one job.
_ASKING: Final = 8
_ASKING_OF_ONE: Final = 2
_MOST_NAMES: Final = 16


class Asking:
    """For one event loop. Its threads are made when somebody asks first."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._turns: dict[int, asyncio.Semaphore] = {}

    async def resolve(self, owner: int, names: list[str]) -> dict[str, tuple[str, ...]]:
        """The addresses of a job's names; two jobs of a user at a time.

        Raises PrivateNetworkError: a name that is unknown, E2BIG for too many.
        """
        if len(names) > _MOST_NAMES:
            why = f"{len(names)} host names; {_MOST_NAMES} are allowed"
            raise PrivateNetworkError(errno.E2BIG, "allow connections", why, "name networks")
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_ASKING, thread_name_prefix="names")
        turn = self._turns.setdefault(owner, asyncio.Semaphore(_ASKING_OF_ONE))
        async with turn:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, resolver.resolve, names)

    def close(self) -> None:
        """End the threads, without waiting for names that are not answered."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
