"""From a request for an array or a flow to a group and its jobs that can be committed together.

What a request says is read first (`read_array`, `read_flow`): sizes, indexes, names and needs, so
that what is wrong in itself is refused before anything is asked of the host. Each job is then a
submission like any other, checked by `runner.submission`. Nothing is created here.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from client import protocol
from runner import flow_graph, hook_checks
from runner.array_indexes import indexes_of
from runner.group_rows import ARRAY, FLOW, About, NewGroup, StepAbout
from runner.message_checks import check_text, invalid
from runner.message_groups import Step
from runner.messages import Submit
from runner.parsing import parse
from runner.refusal import Refusal, shown
from runner.schedule_template import of_submission
from runner.submission import new_id
from runner.submission_queue import check_unmet, key_in_use
from runner.told import variable_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from runner.group_rows import Group, Kind
    from runner.message_groups import SubmitArray, SubmitFlow
    from runner.policy import Peer
    from runner.rows import Job, NewHook, NewJob
    from runner.submission import Submissions

# Of all specs of a flow: its environment is in each of them. They are written in one transaction,
# and nothing else is done meanwhile.
MOST_SPEC_BYTES: Final = 8 * 1024 * 1024
# Of all values of a flow's steps: they are read anew at each start of a step.
MOST_VALUE_BYTES: Final = 256 * 1024
_SPECS_COUNT: Final = (
    "the flow's environment counts for each step; give it less, or the flow fewer steps"
)
_VALUES_COUNT: Final = (
    "values are to be shown; give the flow fewer of them, or shorter ones, and the rest in env"
)
# Steps of a flow that are checked at once: the host is asked in threads.
_AT_ONCE: Final = 8
# Rows of labels: each is written when the array is, and nothing else is done meanwhile.
_MOST_LABELS: Final = 100_000
_OF_FLOW: Final = {
    "name": "nothing: it is called as the flow and the step, FLOW.STEP",
    "idempotency_key": "nothing: the key is the flow's, which is submitted as one thing",
    "hooks": "nothing: hooks are the flow's",
}
_STEP: Final = "a map with name and submit, perhaps needs and values, encoded with msgpack"


class Prepared(NamedTuple):
    """A group and its jobs, as they are committed."""

    group: NewGroup
    jobs: list[NewJob]


class Array:
    """An array as it is asked for: what one job of it is, and the indexes, each once."""

    kind: Final[Kind] = ARRAY

    def __init__(self, request: SubmitArray, submit: Submit, indexes: Sequence[int]) -> None:
        self._request, self._submit, self._indexes = request, submit, indexes
        self.size = len(indexes)
        self.idempotency_key = submit.idempotency_key
        said = [ARRAY, sorted(indexes), _argv(submit)]
        self.digest = hashlib.sha256(msgspec.msgpack.encode(said)).digest()

    async def prepare(
        self, submissions: Submissions, peer: Peer, find: Callable[[str], Job | Group]
    ) -> Prepared:
        """The array and its jobs, which share one spec: it says the group's id. Raises Refusal."""
        try:
            # Of which those are counted too that are met.
            check_unmet(peer.uid, self.size * len(self._submit.after), 0, 0)
            common = await submissions.prepare(self._submit, peer, find, new_id())
        except Refusal as refusal:
            raise of_submission(refusal) from None
        about = About(ranges=self._request.array.ranges)
        group = NewGroup(
            id=common.id,
            submitted_by_uid=peer.uid,
            kind=ARRAY,
            name=self._submit.name,
            submitted_ns=common.submitted_ns,
            max_running=self._request.array.max_running,
            idempotency_key=self.idempotency_key,
            digest=self.digest,
            about=msgspec.msgpack.encode(about),
            spec=common.spec,
            hooks=common.hooks,
        )
        return Prepared(group, [self._job(common, index) for index in self._indexes])

    def _job(self, common: NewJob, index: int) -> NewJob:
        name = None if common.name is None else f"{common.name}.{index}"
        return msgspec.structs.replace(
            common, id=new_id(), name=name, spec=b"", idempotency_key=None, group_id=common.id,
            member=index, hooks=(),
        )  # fmt: skip


class Flow:
    """A flow as it is asked for: its steps by number, and which of them each needs.

    What the steps submit is read anew when it is its turn: all of them at once could take many
    times as much memory as the request did.
    """

    kind: Final[Kind] = FLOW

    def __init__(
        self,
        request: SubmitFlow,
        steps: list[StepAbout],
        needs: list[tuple[tuple[int, str], ...]],
        digest: bytes,
        dependencies: int,
    ) -> None:
        self._request, self._steps, self._needs = request, steps, needs
        # On each other and on others, by number.
        self._dependencies = dependencies
        self.size = len(steps)
        self.idempotency_key = request.idempotency_key
        self.digest = digest

    async def prepare(
        self, submissions: Submissions, peer: Peer, find: Callable[[str], Job | Group]
    ) -> Prepared:
        """The flow and a job for each step. Raises Refusal, that of the first step that is wrong.

        A job that a step is to come after may be removed while the next steps are looked at: the
        step ends for that, as it would have a moment later.
        """
        # Before any of them is looked up.
        check_unmet(peer.uid, self._dependencies, 0, 0)
        group_id, ids = new_id(), [new_id() for _ in self._steps]
        _, first = read_step(self._request, 0)
        hooks = await submissions.hooks_of(self._request.hooks, first, peer)
        jobs: list[NewJob] = []
        bytes_left = MOST_SPEC_BYTES
        for start in range(0, self.size, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, self.size))
            asked = (self._prepared(each, submissions, peer, find, ids) for each in numbers)
            for number, new in zip(numbers, await _all(asked), strict=True):
                bytes_left -= len(new.spec)
                detail = f"step {self._steps[number].name}: {_SPECS_COUNT}"
                _check_bytes(bytes_left, MOST_SPEC_BYTES, f"steps[{number}]", detail)
                jobs.append(msgspec.structs.replace(new, group_id=group_id, member=number))
        # One time for all: what is committed at once has happened at once.
        submitted_ns = max(job.submitted_ns for job in jobs)
        jobs = [msgspec.structs.replace(job, submitted_ns=submitted_ns) for job in jobs]
        return Prepared(self._group(group_id, peer, submitted_ns, hooks), jobs)

    async def _prepared(
        self,
        number: int,
        submissions: Submissions,
        peer: Peer,
        find: Callable[[str], Job | Group],
        ids: Sequence[str],
    ) -> NewJob:
        """The job of a step, after those of the steps that it needs. Raises Refusal."""
        step, submit = read_step(self._request, number)
        try:
            new = await submissions.prepare(submit, peer, find, ids[number])
        except Refusal as refusal:
            raise _of_step(refusal, number, step.name, "submit") from None
        needs = ((ids[on], kind) for on, kind in self._needs[number])
        name = f"{self._request.name}.{step.name}"
        return msgspec.structs.replace(new, name=name, after=(*new.after, *needs))

    def _group(
        self, group_id: str, peer: Peer, submitted_ns: int, hooks: tuple[NewHook, ...]
    ) -> NewGroup:
        return NewGroup(
            id=group_id,
            submitted_by_uid=peer.uid,
            kind=FLOW,
            name=self._request.name,
            submitted_ns=submitted_ns,
            max_running=self._request.max_running,
            idempotency_key=self.idempotency_key,
            digest=self.digest,
            about=msgspec.msgpack.encode(About(steps=self._steps)),
            spec=None,
            hooks=hooks,
        )


async def _all(asked: Iterable[Coroutine[Any, Any, NewJob]]) -> list[NewJob]:
    """What these come to, all under way at once. Raises the error of the first that has one."""
    found: list[NewJob] = []
    for each in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(each, BaseException):
            raise each
        found.append(each)
    return found


def read_array(request: SubmitArray, most: int) -> Array:
    """The array that a request asks for, of `most` jobs at most. Raises Refusal."""
    indexes = indexes_of(request.array, most)
    try:
        submit = parse(Submit, request.submit)
        hook_checks.check_of_group(submit.hooks)
    except Refusal as refusal:
        raise of_submission(refusal) from None
    if submit.name is not None:
        _check_names("submit.name", submit.name, str(max(indexes)))
    _check_labels(len(indexes), len(submit.labels))
    return Array(request, submit, indexes)


async def read_flow(request: SubmitFlow) -> Flow:
    """The flow that a request asks for; others have their turn meanwhile. Raises Refusal."""
    digest = hashlib.sha256(msgspec.msgpack.encode(FLOW))
    steps: list[StepAbout] = []
    dependencies, bytes_left = 0, MOST_VALUE_BYTES
    for number in range(len(request.steps)):
        step, submit = read_step(request, number)
        bytes_left -= len(msgspec.msgpack.encode(step.values))
        detail = f"step {step.name}: {_VALUES_COUNT}"
        _check_bytes(bytes_left, MOST_VALUE_BYTES, f"steps[{number}].values", detail)
        needs = [(need.step, str(need.on)) for need in step.needs]
        dependencies += len(needs) + len(submit.after)
        digest.update(msgspec.msgpack.encode([step.name, needs, _argv(submit)]))
        steps.append(StepAbout(name=step.name, values=step.values, needs=needs))
        await asyncio.sleep(0)
    needed = flow_graph.checked([flow_graph.Outline(step.name, step.needs) for step in steps])
    _check_names("name", request.name, max((step.name for step in steps), key=len))
    return Flow(request, steps, needed, digest.digest(), dependencies)


def read_step(request: SubmitFlow, number: int) -> tuple[Step, Submit]:
    """A step of a flow, and what it submits, in the flow's environment. Raises Refusal."""
    try:
        fields = protocol.decode_body(request.steps[number], protocol.MAX_REQUEST_CONTAINERS)
    except protocol.FrameError as error:
        given = f"{len(request.steps[number])} bytes"
        raise _of_step(invalid("", given, _STEP), number, f"{number}: {error}") from None
    name = shown(fields.get("name"))
    try:
        step = parse(Step, fields)
        _check_values(step)
    except Refusal as refusal:
        raise _of_step(refusal, number, name) from None
    try:
        return step, _submission(request, step)
    except Refusal as refusal:
        raise _of_step(refusal, number, step.name, "submit") from None


def same_group(found: Group, digest: bytes) -> Group:
    """The group that has the request's key, if it is the same. Raises Refusal (`key-in-use`)."""
    if found.digest != digest:
        detail = f"{found.kind} {found.id} was submitted with this key and is another one"
        raise key_in_use(found.idempotency_key, detail)
    return found


def _submission(request: SubmitFlow, step: Step) -> Submit:
    submit = parse(Submit, step.submit)
    for field, allowed in _OF_FLOW.items():
        given = getattr(submit, field)
        if given not in (None, []):
            raise invalid(field, "one" if field == "hooks" else shown(given), allowed)
    if request.env:
        submit = msgspec.structs.replace(submit, env={**request.env, **submit.env})
        check_text(submit)
    return submit


def _argv(submit: Submit) -> list[bytes]:
    return [bytes(argument) for argument in submit.argv]


def _of_step(refusal: Refusal, number: int, name: str, *inner: str) -> Refusal:
    """The refusal of a part of a flow as the flow's; which step, it says in words as well."""
    fields = refusal.fields
    if "field" in fields:
        fields["field"] = ".".join(filter(None, [f"steps[{number}]", *inner, fields["field"]]))
    fields["detail"] = f"step {name}: {fields['detail']}" if "detail" in fields else f"step {name}"
    return refusal


def _check_names(field: str, name: str, longest: str) -> None:
    """Whether the names of all jobs are short enough, the longest of them. Raises Refusal."""
    room = protocol.MAX_NAME_CHARS - len(f".{longest}")
    if len(name) > room:
        raise Refusal(
            "invalid-argument", field=field, given=shown(name),
            detail=f"at most {room} characters are allowed, because a job of it is called "
            f"NAME.{longest}, which has at most {protocol.MAX_NAME_CHARS}",
        )  # fmt: skip


def _check_labels(jobs: int, labels: int) -> None:
    if jobs * labels > _MOST_LABELS:
        allowed = f"at most {_MOST_LABELS // jobs} labels for each of {jobs} jobs"
        raise invalid("submit.labels", f"{labels} labels", allowed)


def _check_values(step: Step) -> None:
    """Whether the values of a matrix can be told in an environment. Raises Refusal."""
    seen: dict[str, str] = {}
    for key, value in step.values.items():
        if "\0" in value:
            raise invalid(f"values[{shown(key)}]", shown(value), "text without NUL")
        variable = variable_of(key)
        if variable in seen:
            allowed = f"another key than {shown(seen[variable])}: both would be {variable}"
            raise invalid("values", shown(key), allowed)
        seen[variable] = key


def _check_bytes(left: int, most: int, field: str, detail: str) -> None:
    """Whether something is left of what a flow may take. Raises Refusal."""
    if left < 0:
        raise Refusal(
            "invalid-argument", field=field, given=f"{most - left} bytes up to here",
            allowed=f"at most {most} bytes", detail=detail,
        )  # fmt: skip
