"""Both launchers as one: plain jobs go to the native one where there is one, others to Python's.

Theory of operation. Which jobs are plain `runner.native_jobs` decides. The native launcher takes
loopback networks of its own, so what a launch is given depends on who will do it: `takes` says
so beforehand. While it is started again plain jobs go to the other one; given up, or not there
from the beginning, all do. Never does a job go anywhere without a network that it was to have.
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Any, Final

from runner import native_program
from runner.launch_answers import LauncherGoneError, LaunchError, launch_request
from runner.launcher_client import LauncherClient, Program, UnfitError
from runner.native_jobs import is_plain, native_fields, wants_loopback

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from runner.entering import Doors
    from runner.handles import Given, Handles
    from runner.launch_answers import Answer, Done, Launched

_logger: Final = logging.getLogger(__name__)

_TURNED_OFF: Final = "native_launcher is false in the configuration"
# As they are of a network that the daemon makes: the host is short, the job is not to blame.
_SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Launchers:
    """The launchers of one runnerd. Used from the event loop's thread only.

    `program` is that of the native one, None where it is not wanted. Raises OSError when Python's
    cannot be started.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        keep_open: Sequence[int],
        program: Program | None,
    ) -> None:
        self._python = LauncherClient(loop, keep_open)
        self._native: LauncherClient | None = None
        self._why_none = _TURNED_OFF
        if program is not None:
            self._start_native(loop, keep_open, program)

    def _start_native(
        self, loop: asyncio.AbstractEventLoop, keep_open: Sequence[int], program: Program
    ) -> None:
        try:
            self._native = LauncherClient(loop, keep_open, program)
        except (OSError, UnfitError) as error:
            self._why_none = str(error)
            _logger.warning("without the native launcher jobs start slower: %s", error)

    @property
    def pids(self) -> list[int]:
        """Of the launchers that there are, or are to be again soon."""
        there = [self._python, self._native]
        return [each.pid for each in there if each is not None and each.why_gone is None]

    @property
    def why_no_native(self) -> str | None:
        """Why plain jobs are run by Python's launcher; None: they are not."""
        return self._why_none if self._native is None else self._native.why_gone

    def takes(self, spec: Mapping[str, Any]) -> bool:
        """Whether the native one would run a job of this spec, and make its loopback network."""
        return self._native is not None and self._native.is_running and is_plain(spec)

    async def launch(
        self,
        job_id: str,
        handles: Handles,
        given: Given,
        spec: Mapping[str, Any],
        *,
        sync_begin: bool,
    ) -> Launched:
        """Fork the monitor of a job. Raises LaunchError, LauncherGoneError.

        And OSError where the host is too short of something for a network. Without one in
        `handles` a job that wants loopback alone gets one of the native launcher's: `takes`.
        `sync_begin`: `LauncherClient.launch`.
        """
        own_network = wants_loopback(spec) and handles.network is None
        native = self._native_for(spec, given, own_network=own_network)
        if native is None:
            return await self._python.launch(job_id, handles, given, sync_begin=sync_begin)
        fields = native_fields(spec, own_network=own_network)
        try:
            return await native.launch(job_id, handles, given, fields, sync_begin=sync_begin)
        except LaunchError as error:
            raise _told(error, own_network=own_network) from error

    def begin(
        self,
        spec: Mapping[str, Any],
        present: Mapping[str, int],
        done: Done,
        *,
        sync_begin: bool,
    ) -> bool:
        """`launch` of a job that the native one `takes`, without waiting: `LauncherClient.begin`.

        `done` may be given an OSError as well.
        """
        own_network = wants_loopback(spec)

        def told(answer: Answer) -> None:
            if isinstance(answer, LaunchError):
                answer = _told(answer, own_network=own_network)
            done(answer)

        fields = native_fields(spec, own_network=own_network)
        request = launch_request(spec["job"], None, fields, sync_begin=sync_begin)
        return self._native is not None and self._native.begin(request, present, told)

    def _native_for(
        self, spec: Mapping[str, Any], given: Given, *, own_network: bool
    ) -> LauncherClient | None:
        native, can = self._native, is_plain(spec, given)
        if own_network:
            if not can:
                # Python's would run it in the host's network.
                raise LaunchError("it has no network, and is not plain: a defect of runnerd")
            if native is None:
                raise LauncherGoneError(self._why_none)
            # That it is being started again is waited for.
            return native
        return native if can and native is not None and native.is_running else None

    async def enter(self, doors: Doors) -> int:
        """Fork the middle process of an exec (`runner.entering`): `LauncherClient.enter`."""
        return await self._python.enter(doors)

    def close(self) -> None:
        """Let both end; their monitors go on."""
        if self._native is not None:
            self._native.close()
        self._python.close()


def start(
    loop: asyncio.AbstractEventLoop, keep_open: Sequence[int], *, with_native: bool
) -> Launchers:
    """The launchers of this installation. Raises OSError."""
    return Launchers(loop, keep_open, native_program.program() if with_native else None)


def _told(error: LaunchError, *, own_network: bool) -> Exception:
    if own_network and error.number in _SHORT:
        return OSError(error.number, str(error))
    if error.number == errno.EBADMSG:
        text = f"{error} (a defect of runnerd; until then: native_launcher = false)"
        return LaunchError(text, error.number)
    return error
