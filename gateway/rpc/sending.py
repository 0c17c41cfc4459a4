"""Messages of a stream, written one at a time: who does not read them in time is cut off.

gRPC holds a message back until its reader has room for it, so that what waits here is one message
for each stream, whatever the job writes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from client.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]


# Of output in one message: what is held for a reader who does not read.
BATCH_BYTES: Final = 256 * 1024


async def unbroken(doing: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  what it gives
    """What gRPC does; whoever stops waiting for it does not stop it.

    A read or write that is cancelled is forgotten with its message, whose memory nobody frees then.
    Left alone it ends with its call.
    """
    task = asyncio.ensure_future(doing)
    task.add_done_callback(_looked_at)
    return await asyncio.shield(task)


def _looked_at(task: asyncio.Future[Any]) -> None:
    """Nobody may be there any more for an error of a call that is over."""
    if not task.cancelled():
        task.exception()


class Sender:
    """To one reader, who may take `seconds` for each message."""

    def __init__(self, context: Context, seconds: float) -> None:
        self._context = context
        self._seconds = seconds

    async def send(self, message: object) -> None:
        """Raises RequestRefused when it was not read in time."""
        try:
            async with asyncio.timeout(self._seconds):
                await unbroken(self._context.write(message))
        except TimeoutError:
            raise RequestRefused(
                "slow-reader",
                detail=f"nothing was read for {self._seconds:g} s; go on from the last cursor",
            ) from None
