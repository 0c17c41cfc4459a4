"""What a caller with a scope means by a reference: looked up as that caller, checked, by full id.

What was checked is what is acted on: the request goes on with the id. What is outside of the scope
is answered exactly as if it did not exist, so that nobody finds out by trying what there is.
Callers without a scope never come here: their requests cost one round trip.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from client.errors import ProtocolError, RequestRefused
from client.framing import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from client.protocol import Message
    from gateway.asking import Reference
    from gateway.scope import Scope

    Ask = Callable[[str, Message], Awaitable[Message]]

# Each is a round trip, or several.
MOST_REFERENCES: Final = 64
_MEMBERS: Final = 1000
_MOST_PAGES: Final = 20
# As many as runnerd names of those that a prefix stands for; there may be more then.
_MOST_CANDIDATES: Final = 20
_TELLING: Final = frozenset(
    {"no-such-job", "ambiguous-job", "no-such-schedule", "ambiguous-schedule", "is-group"}
)


class Resolver:
    """Asks runnerd with `ask`, as the caller, and lets through what is in `scope`."""

    def __init__(self, scope: Scope, ask: Ask) -> None:
        self._scope = scope
        self._ask = ask

    async def resolve(self, references: Iterable[Reference], *, writes: bool) -> None:
        """Put full ids in the place of references. Raises RequestRefused.

        `writes`: of a group every job must be in the scope, for all of them would be changed.
        """
        asked = list(references)
        if len({(each.kind, each.text) for each in asked}) > MOST_REFERENCES:
            detail = f"at most {MOST_REFERENCES} jobs may be named at once here"
            raise RequestRefused("invalid-argument", field=asked[-1].field, detail=detail)
        known: dict[tuple[str, str], str] = {}
        for each in asked:
            key = (each.kind, each.text)
            if key not in known:
                known[key] = await self._id(each, writes=writes)
            each.is_now(known[key])

    async def _id(self, reference: Reference, *, writes: bool) -> str:
        text, field = reference.text, reference.field
        if reference.kind == "job":
            return await self.job(text, field)
        if reference.kind == "group":
            # Of what is only listed each job is looked at.
            return await self.group(text, field, all_of_it=writes and field == "group")
        if reference.kind == "schedule":
            return await self._schedule(text)
        return await self._either(text, field)

    async def job(self, text: str, field: str = "job") -> str:
        """The id of a job that is in the scope."""
        return _id_in(await self.status(text, field), "job")

    async def status(self, text: str, field: str = "job") -> Message:
        """A job that is in the scope, as `status` shows it."""
        job = await self._asked("status", {"job": text}, field, text)
        if not self._scope.has_job(job):
            raise _no_such_job(field, text)
        return job

    async def group(self, text: str, field: str = "group", *, all_of_it: bool = False) -> str:
        """The id of a group that is in the scope; `all_of_it`: with every one of its jobs."""
        group = await self._asked("group", {"group": text, "limit": 0}, field, text)
        if not self._scope.has_group(group):
            raise _no_such_job(field, text)
        found = _id_in(group, "group")
        if all_of_it and self._scope.queues is not None:
            await self._check_members(found)
        return found

    async def _check_members(self, group: str) -> None:
        """Jobs of a flow may be in several queues, and each job can be moved. Raises."""
        after: object = -1
        for _ in range(_MOST_PAGES):
            args = {"group": group, "after": after, "limit": _MEMBERS}
            page = await self._asked("group", args, "group", group)
            members = page.get("members")
            if not isinstance(members, list) or not all(self._is_in(each) for each in members):
                break
            after = page.get("next")
            if after is None:
                return
        detail = "jobs of it are in queues that are not yours; name those that are"
        raise RequestRefused("not-permitted", field="group", detail=detail)

    def _is_in(self, member: object) -> bool:
        return isinstance(member, dict) and self._scope.has_queue(member.get("queue"))

    async def _either(self, text: str, field: str) -> str:
        try:
            return await self.job(text, field)
        except RequestRefused as refused:
            if refused.group is None:
                raise
            return refused.group.group

    async def _schedule(self, text: str) -> str:
        return _id_in(await self.schedule(text), "schedule")

    async def schedule(self, text: str) -> Message:
        """A schedule that is in the scope, as `schedule_status` shows it."""
        try:
            found = await self._ask("schedule_status", {"schedule": text})
        except RequestRefused as refused:
            if refused.code == "ambiguous-schedule" and refused.candidates:
                return await self._of_several_schedules(refused.candidates, text)
            raise _plain(refused, "schedule", text) from None
        if not self._scope.has_schedule(found):
            raise RequestRefused("no-such-schedule", field="schedule", given=shown(text))
        return found

    async def _of_several_schedules(self, candidates: list[str], text: str) -> Message:
        """The only one in the scope of those that are meant. Raises RequestRefused."""
        found: list[Message] = []
        for each in candidates[:_MOST_CANDIDATES]:
            with suppress(RequestRefused):
                found.append(await self._ask("schedule_status", {"schedule": each}))
        found = [each for each in found if self._scope.has_schedule(each)]
        if len(found) == 1 and len(candidates) < _MOST_CANDIDATES:
            return found[0]
        code = "ambiguous-schedule" if found else "no-such-schedule"
        raise RequestRefused(code, field="schedule", given=shown(text))

    async def check_existing(self, answer: Message) -> None:
        """A key that was used for something outside of the scope tells nothing. Raises."""
        try:
            if "group" in answer:
                await self.group(_id_in(answer, "group"))
            else:
                await self.job(_id_in(answer, "job"))
        except RequestRefused:
            raise RequestRefused("key-in-use", field="idempotency_key") from None

    async def _asked(self, op: str, args: Message, field: str, text: str) -> Message:
        try:
            return await self._ask(op, args)
        except RequestRefused as refused:
            if refused.code == "ambiguous-job" and refused.candidates:
                return await self._of_several(op, args, refused.candidates, (field, text))
            if refused.group is not None:
                await self._check_group(refused.group.group, field, text)
            raise _plain(refused, field, text) from None

    async def _of_several(
        self, op: str, args: Message, candidates: list[str], named: tuple[str, str]
    ) -> Message:
        """The only one in the scope of those that are meant: others are as if they did not exist.

        Raises RequestRefused; `named`: the field, and what it has.
        """
        (field, text), key = named, "job" if op == "status" else "group"
        found: list[Message] = []
        groups: list[RequestRefused] = []
        for each in candidates[:_MOST_CANDIDATES]:
            try:
                one = await self._ask(op, {**args, key: each})
            except RequestRefused as refused:
                if refused.group is not None:
                    await self._add_group(refused, groups, named)
                elif refused.code not in _TELLING:
                    raise
            else:
                fits = self._scope.has_job if key == "job" else self._scope.has_group
                found += [one] if fits(one) else []
        if len(candidates) >= _MOST_CANDIDATES or len(found) + len(groups) > 1:
            # There may be more than were named.
            code = "ambiguous-job" if found or groups else "no-such-job"
            raise RequestRefused(code, field=field, given=shown(text))
        if groups:
            raise groups[0]
        if not found:
            raise _no_such_job(field, text)
        return found[0]

    async def _add_group(
        self, refused: RequestRefused, groups: list[RequestRefused], named: tuple[str, str]
    ) -> None:
        """One that stands for a group, if that is in the scope."""
        if refused.group is None:
            return
        with suppress(RequestRefused):
            await self._check_group(refused.group.group, *named)
            groups.append(_plain(refused, *named))

    async def _check_group(self, group: str, field: str, text: str) -> None:
        """What is said of a group that was named as a job is said only of one in the scope."""
        found = await self._ask("group", {"group": group, "limit": 0})
        if not self._scope.has_group(found):
            raise _no_such_job(field, text)


def _plain(refused: RequestRefused, field: str, text: str) -> RequestRefused:
    """A refusal without what it tells of others: ids that match, steps that there are."""
    if refused.code not in _TELLING:
        return refused
    plain = RequestRefused(refused.code, field=field, given=shown(text))
    plain.group = refused.group
    return plain


def _no_such_job(field: str, text: str) -> RequestRefused:
    return RequestRefused("no-such-job", field=field, given=shown(text))


def _id_in(answer: Message, key: str) -> str:
    found: Any = answer.get(key)
    if not isinstance(found, str) or not found:
        raise ProtocolError(f"runnerd sent a {key} without its id")
    return found
