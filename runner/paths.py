"""Questions about users' paths: asked as the user, in bounded number, for a bounded time.

What is refused is refused in the words of docs/PROTOCOL.md, naming the field; nothing is
told that the file system would not tell the user itself.
"""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from isolation.caller import Caller, ask_as, check_directory, may_be_entered_at_once
from isolation.caller_paths import DEVICE, device_at, first_wrong
from isolation.errors import LimitUnavailable
from isolation.host.devices import disks_of_path
from runner.refusal import Refusal, shown
from runner.users import Account

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from isolation.caller_paths import Wanted
    from isolation.device_filter import Device

_T = TypeVar("_T")

# A path on a dead network file system must not hold its submitter for ever.
PATH_SECONDS: Final = 10.0
_WRITE_RATES: Final = ("write_bytes_per_second", "write_operations_per_second")
# Threads that such paths may hold, for each user.
_AT_ONCE: Final = 16


class UserPaths:
    """The questions of one daemon. For the event loop's thread only."""

    def __init__(self) -> None:
        self._slots: dict[int, asyncio.Semaphore] = {}

    async def check_cwd(self, account: Account, cwd: bytes) -> None:
        """Whether the account may enter a directory. Raises Refusal."""
        # Root is what this thread is itself; and most directories are known to the kernel.
        if account.uid == 0 == os.geteuid() and may_be_entered_at_once(cwd):
            return
        wanted = f"an existing directory that {account.name} may enter"
        await self.ask(account, "cwd", cwd, partial(check_directory, cwd), wanted)

    async def find_devices(self, spec: dict[str, Any]) -> dict[bytes, tuple[str, ...]]:
        """The devices ("MAJ:MIN") below each path of a spec's io limits. Raises Refusal."""
        account = _account(spec)
        wanted = f"a path that {account.name} can reach"
        devices: dict[bytes, tuple[str, ...]] = {}
        for index, entry in enumerate(spec["limits"].get("io", ())):
            path = entry["path"]
            writes = any(entry.get(name) is not None for name in _WRITE_RATES)
            question = partial(disks_of_path, os.fsdecode(path), writes=writes)
            disks = await self.ask(account, f"limits.io[{index}].path", path, question, wanted)
            devices[path] = tuple(disk.device for disk in disks)
        return devices

    async def check_all(self, account: Account, wanted: Sequence[Wanted]) -> None:
        """Whether each path of a request is what it has to be. Raises Refusal for the first."""
        if not wanted:
            return
        first = wanted[0]
        question = partial(first_wrong, wanted, account.uid)
        kind = first.kind.format(account.name)
        wrong = await self.ask(account, first.field, first.path, question, kind)
        if wrong is not None:
            item = wrong.wanted
            raise Refusal(
                "invalid-argument", field=item.field, given=_shown(item.path),
                allowed=item.kind.format(account.name), detail=wrong.why,
            )  # fmt: skip

    async def find_allowed_devices(self, spec: dict[str, Any]) -> list[Device]:
        """The devices of a spec's allow list, opened as its user. Raises Refusal."""
        account = _account(spec)
        devices = []
        for index, path in enumerate(spec["sandbox"]["devices"]):
            field, wanted = f"sandbox.devices[{index}]", DEVICE.format(account.name)
            devices.append(await self.ask(account, field, path, partial(device_at, path), wanted))
        return devices

    async def ask(
        self, account: Account, field: str, path: bytes, question: Callable[[], _T], wanted: str
    ) -> _T:
        """The answer of a question that is put as the account. Raises Refusal for the field."""
        try:
            return await self._answer(account, question)
        except LimitUnavailable as error:
            raise Refusal(
                "limit-unavailable", field=field, given=_shown(path), detail=str(error)
            ) from None
        except TimeoutError:
            why = f"it did not answer within {PATH_SECONDS:g} s"
        except OSError as error:
            why = error.strerror or str(error)
        raise Refusal(
            "invalid-argument", field=field, given=_shown(path), allowed=wanted, detail=why
        )

    async def _answer(self, account: Account, question: Callable[[], _T]) -> _T:
        slots = self._slots.setdefault(account.uid, asyncio.Semaphore(_AT_ONCE))
        loop = asyncio.get_running_loop()

        def give_back(_answer: Future[_T]) -> None:
            # The daemon may have ended before the thread did.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(slots.release)

        async with asyncio.timeout(PATH_SECONDS):
            await slots.acquire()
            try:
                answer = ask_as(Caller(account.uid, account.gid, account.groups), question)
            except RuntimeError as error:
                # No thread can be started now.
                slots.release()
                raise OSError(errno.EAGAIN, f"{error}; try again in a moment") from None
            # When its thread ends, not when somebody stops waiting for it.
            answer.add_done_callback(give_back)
            return await asyncio.wrap_future(answer)


def _account(spec: dict[str, Any]) -> Account:
    return Account(spec["uid"], spec["gid"], tuple(spec["groups"]), spec["user"])


def _shown(path: bytes) -> str:
    return shown(os.fsdecode(path))
