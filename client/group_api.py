"""What a client asks about groups: submit, show, stop, retry, wait, hold, change, remove them.

A group is an array or a flow. A part of `client.api.Client`, which has the rest of the operations;
where those name a job, `GROUP.MEMBER` is one of a group.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final, cast

from client.connection import ANSWER_SECONDS
from client.environment import own_environment
from client.errors import ConnectionLost, DaemonUnavailable, ProtocolError
from client.requesting import ID_CHARS, Requesting, numbers_in, text_in
from client.submission import build_flow, build_selection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from client import protocol
    from client.group_records import (
        ChangedGroup,
        GroupEnd,
        GroupEntry,
        GroupStatus,
        HeldGroup,
        Member,
        Step,
        StoppedGroup,
        SubmittedGroup,
        UpdatedGroup,
    )
    from client.options import Environment, Hook, Options, Text
    from client.records import JobSummary, Selection
    from client.requesting import Request

PAGE_ENTRIES: Final = 500
PAGE_MEMBERS: Final = 1000
# For `update_group`: what is not given stays as it is, and None is a value.
_AS_IT_IS: Any = object()


class GroupRequests(Requesting):
    """The operations on groups. Raises what `client.api.Client` raises."""

    def submit_array(
        self,
        argv: Sequence[Text],
        *,
        ranges: Sequence[tuple[int, int, int]],
        max_running: int | None = None,
        **options: Unpack[Options],
    ) -> SubmittedGroup:
        """Submit a job for each index of `ranges`: (first, last, stride) each, no index twice.

        All of them or none; they are on the daemon's disk when this returns. At most `max_running`
        of them run at once. The options are those of `submit`; name, key and hooks are the
        array's. A restart of the daemon is borne: without a key it is sent with one made for this.
        """
        submit = self._submission(argv, **options)
        submit.setdefault("idempotency_key", _new_key())
        array: protocol.Message = {"ranges": [list(each) for each in ranges]}
        if max_running is not None:
            array["max_running"] = max_running
        return self._submitted("submit_array", {"submit": submit, "array": array})

    def submit_flow(
        self,
        name: str,
        steps: Sequence[Step],
        *,
        env: Environment | None = None,
        max_running: int | None = None,
        hooks: Sequence[Hook] | None = None,
        key: str | None = None,
    ) -> SubmittedGroup:
        """Submit jobs that need each other: all of them or none.

        `env` is what the steps have in common (None: the caller's own environment, or through a
        gateway nothing); what a step's `submit` sets goes over it. The same `key` gives the same
        flow; as with `submit_array` a restart of the daemon is borne.
        """
        environment = self._common_environment() if env is None else env
        options = {
            "max_running": max_running, "hooks": hooks, "idempotency_key": key or _new_key(),
        }  # fmt: skip
        return self._submitted("submit_flow", build_flow(name, steps, environment, options))

    def _common_environment(self) -> Environment:
        # What a login has there is the gateway's to know.
        return {} if self.is_elsewhere else own_environment()

    def _submitted(self, op: str, args: protocol.Message) -> SubmittedGroup:
        """With a key it may be sent again: what was accepted is not accepted twice."""
        try:
            # However many jobs it makes.
            answer = self._bearing(lambda request: request(op, args, None))
        except (ConnectionLost, DaemonUnavailable) as error:
            if not self._pool.reached:
                raise
            raise ConnectionLost(
                f"{error}; its jobs may have been accepted: `runctl ps --all` shows them"
            ) from None
        return cast("SubmittedGroup", _answer(answer, "jobs"))

    def entries(
        self,
        *,
        ended: bool = False,
        select: Selection | None = None,
        page: int = PAGE_ENTRIES,
    ) -> Iterator[JobSummary | GroupEntry]:
        """`jobs`, with one entry for all those of a group, where the newest of them would be."""
        chosen = {} if select is None else {"select": build_selection(select)}
        return self._listed({"ended": ended, "collapse": True, "limit": page, **chosen})

    def group(self, group: str, *, after: int = -1, limit: int = PAGE_MEMBERS) -> GroupStatus:
        """A group by id, prefix of an id (4 characters or more) or name, and a page of its jobs.

        At most `limit` (0 to 1,000) of those with a `member` above `after`.
        """
        answer = self._request("group", {"group": group, "after": after, "limit": limit})
        if not isinstance(answer.get("members"), list) or not isinstance(
            answer.get("counts"), dict
        ):
            raise ProtocolError("runnerd sent a group without its members")
        return cast("GroupStatus", _answer(answer, "size"))

    def members(self, group: str, *, after: int = -1, page: int = PAGE_MEMBERS) -> Iterator[Member]:
        """The jobs of a group by `member`, from above `after` on; asks for `page` at a time."""
        while True:
            found = self.group(group, after=after, limit=page)
            yield from found["members"]
            following = found["next"]
            if following is None:
                return
            if following <= after:
                raise ProtocolError("runnerd sent the same page of a group again")
            # The full id: a name may come to mean another one.
            group, after = found["group"], following

    def stop_group(
        self, group: str, *, grace_seconds: float | None = None, kill: bool = False
    ) -> StoppedGroup:
        """Stop every job of a group, as `stop` does one; repeating is harmless."""
        args: protocol.Message = {"group": group, "kill": kill}
        if grace_seconds is not None:
            args["grace_seconds"] = grace_seconds
        answer = self._changed("stop_group", args, "jobs", "queued", "running")
        return cast("StoppedGroup", answer)

    def retry_group(self, group: str) -> ChangedGroup:
        """Run what failed of a group once more, and what was skipped for it."""
        return cast("ChangedGroup", self._changed("retry_group", {"group": group}, "jobs"))

    def wait_group(self, group: str, *, timeout_seconds: float | None = None) -> GroupEnd:
        """The group when all of its jobs have ended, or as it is when the time has passed.

        A daemon that is away then is its error: what the group is cannot be known.
        """
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        full = self._full_group_id(group)

        def ask(request: Request) -> protocol.Message:
            left = None if end is None else max(end - time.monotonic(), 0)
            bound = None if left is None else left + ANSWER_SECONDS
            return request("wait_group", {"group": full, "timeout_seconds": left}, bound)

        answer = self._bearing(ask, math.inf if end is None else end)
        return cast("GroupEnd", _answer(answer, "size"))

    def hold_group(self, group: str) -> HeldGroup:
        """Keep the queued jobs of a group from starting until it is released."""
        args = {"group": group, "held": True}
        return cast("HeldGroup", self._changed("hold_group", args, "jobs"))

    def release_group(self, group: str) -> HeldGroup:
        """Let the jobs of a group that were held start when their turn comes."""
        args = {"group": group, "held": False}
        return cast("HeldGroup", self._changed("hold_group", args, "jobs"))

    def update_group(
        self, group: str, *, max_running: int | None = _AS_IT_IS, priority: int = _AS_IT_IS
    ) -> UpdatedGroup:
        """Change how many of a group run at once (None: no bound), and the queued ones' priority.

        What is not given stays as it is.
        """
        changes = {"max_running": max_running, "priority": priority}
        given = {key: value for key, value in changes.items() if value is not _AS_IT_IS}
        answer = self._changed("update_group", {"group": group, **given}, "jobs")
        return cast("UpdatedGroup", answer)

    def remove_group(self, group: str) -> ChangedGroup:
        """Forget a group that has ended, its jobs and their output."""
        return cast("ChangedGroup", self._changed("remove_group", {"group": group}, "jobs"))

    def _changed(self, op: str, args: protocol.Message, *numbers: str) -> protocol.Message:
        # However many jobs it has.
        return _answer(self._request(op, args, timeout=None), *numbers)

    def _full_group_id(self, group: str) -> str:
        return group if len(group) == ID_CHARS else self.group(group, limit=0)["group"]


def _answer(answer: protocol.Message, *numbers: str) -> protocol.Message:
    """The answer, which has the group and these numbers. Raises ProtocolError."""
    text_in(answer, "group")
    numbers_in(answer, numbers, "numbers of jobs")
    return answer


def _new_key() -> str:
    from uuid import uuid4

    return str(uuid4())
