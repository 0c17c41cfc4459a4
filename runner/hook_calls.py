"""Makes the calls of hooks that are due: submits each as a job of its owner, and forgets it.

In the event loop's thread. A call is made as its owner would submit it; that it is made once is
the store's to see to (`runner.store_hooks`), what is run is `runner.hook_template`'s. Users have
their turns side by side: nobody's dead path, slow hook or refusal holds up another's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from runner import hook_template
from runner.lifecycle import State
from runner.refusal import Refusal
from runner.schedule_template import peer_now
from runner.store_file import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from runner.hook_rows import HookCall
    from runner.messages import Submit
    from runner.policy import Peer
    from runner.rows import Job, NewJob
    from runner.store import Store

    Prepare = Callable[[Peer, Submit, bool], Awaitable[NewJob]]
    Insert = Callable[[NewJob, int], Job]

_logger: Final = logging.getLogger(__name__)

_AGAIN_SECONDS: Final = 1.0
_PAGE: Final = 1000
# Jobs of one user's hooks that have not ended. This, and not `max_queued`, bounds them: a user
# whose queue is full still hears of what happens in it. What is more waits as calls, which are
# bounded themselves (`runner.hook_rows`).
MOST_AT_ONCE: Final = 64
# That nothing is taken now says nothing of the hook.
_PASSING: Final = frozenset({"draining", "shutting-down", "store-error", "too-many-jobs"})
_MOST_REFUSED_CHARS: Final = 500


class HookCalls:
    """The calls of one daemon.

    `prepare` makes a job of what a user submits, told whether it tells a web address; `insert`
    commits it for the call of that number. Both raise Refusal. `ended` returns when a job has
    ended; `may_run` says whether any may be submitted now.
    """

    def __init__(
        self,
        store: Store,
        prepare: Prepare,
        insert: Insert,
        ended: Callable[[str], Awaitable[object]],
        may_run: Callable[[], bool],
    ) -> None:
        self._store = store
        self._prepare = prepare
        self._insert = insert
        self._ended = ended
        self._may_run = may_run
        self._due = asyncio.Event()
        self._seen = 0
        self._waiting: dict[int, deque[int]] = {}
        self._slots: dict[int, asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_failed = False

    def begin(self) -> None:
        """Go on with the calls that there are."""
        self._store.on_calls = self._due.set
        self._due.set()
        self._spawn(self._watch())

    async def close(self) -> None:
        """Make no more calls; those that are left are the next daemon's."""
        self._store.on_calls = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                self._take_up()
            except StoreError as error:
                self._complain(error)
                await asyncio.sleep(_AGAIN_SECONDS)
                self._due.set()

    def _take_up(self) -> None:
        """Calls that were not seen yet, each for its user's turn. Raises StoreError."""
        while page := self._store.calls(self._seen, _PAGE):
            for seq, uid in page:
                self._seen = seq
                if uid not in self._waiting:
                    self._waiting[uid] = deque()
                    self._spawn(self._work_off(uid))
                self._waiting[uid].append(seq)

    async def _work_off(self, uid: int) -> None:
        """The calls of one user, one after the other."""
        waiting = self._waiting[uid]
        try:
            while waiting:
                if await self._make(uid, waiting[0]):
                    waiting.popleft()
                else:
                    await asyncio.sleep(_AGAIN_SECONDS)
        finally:
            del self._waiting[uid]

    async def _make(self, uid: int, seq: int) -> bool:
        """Make a call, if it can be made at all. False: not now."""
        if not self._may_run():
            return False
        slots = self._slots.setdefault(uid, asyncio.Semaphore(MOST_AT_ONCE))
        await slots.acquire()
        job = None
        try:
            job, is_done = await self._made(seq)
        except StoreError as error:
            self._complain(error)
            return False
        finally:
            if job is None:
                self._give_back(uid)
        self._has_failed = False
        if job is not None:
            self._spawn(self._hold(uid, job))
        return is_done

    async def _made(self, seq: int) -> tuple[Job | None, bool]:
        """The job of a call, and whether the call is done with. Raises StoreError."""
        call = self._store.call(seq)
        if call is None:
            self._store.forget_call(seq)
            return None, True
        try:
            return await self._submit(call), True
        except Refusal as refusal:
            if refusal.code in _PASSING:
                return None, False
            refused = str(refusal)
        except StoreError:
            raise
        except Exception:
            # A defect of ours must not keep the user's other hooks waiting.
            _logger.exception("a defect in hook %d of %s", call.number, call.owner_id)
            refused = "a defect in runnerd, whose log says more"
        self._drop(call, refused)
        return None, True

    async def _submit(self, call: HookCall) -> Job | None:
        """Submit a call; None: there is its job already. Raises Refusal, StoreError."""
        template, request = hook_template.unpack(call.template)
        groups = frozenset(template.groups)
        peer = await asyncio.to_thread(peer_now, call.uid, template.gid, groups)
        wanted = hook_template.run_of(call, template, request)
        new = await self._prepare(peer, wanted, template.url is not None)
        # From here on nothing is waited for.
        if self._store.keyed(call.uid, hook_template.key_of(call)) is not None:
            self._store.forget_call(call.seq)
            return None
        job = self._insert(new, call.seq)
        _logger.info("job %s is hook %d of %s (%s), for uid %d",
                     job.id, call.number, call.owner_id, call.event, call.uid)  # fmt: skip
        return job

    def _drop(self, call: HookCall, refused: str) -> None:
        text = refused.encode("ascii", "backslashreplace").decode()[:_MOST_REFUSED_CHARS]
        _logger.warning("hook %d of %s (%s) is not run: %s",
                        call.number, call.owner_id, call.event, text)  # fmt: skip
        self._store.drop_call(call, time.time_ns(), text)

    async def _hold(self, uid: int, job: Job) -> None:
        """Count a job of a hook until it has ended."""
        try:
            if job.state is not State.ENDED:
                await self._ended(job.id)
        finally:
            self._give_back(uid)

    def _give_back(self, uid: int) -> None:
        self._slots[uid].release()

    def _complain(self, error: StoreError) -> None:
        if not self._has_failed:
            _logger.error("no hook can be run: %s", error)
        self._has_failed = True

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("a defect in the work on hooks", exc_info=error)
