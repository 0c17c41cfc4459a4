"""What a request asks for, read from its arguments: for the policy, and to be sent on.

Pure. Only what the policy, a scope or a trace is about is looked at; that must have the type that
docs/PROTOCOL.md says, everything else is runnerd's to refuse. What was read here is what is sent:
the steps of a flow, which come encoded, are encoded anew, and the caller's own maps stay untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgpack
import msgspec

from client import protocol
from client.errors import RequestRefused
from client.framing import invalid
from gateway.policy import Act, Submitted, shown
from gateway.scope import DEFAULT_QUEUE
from gateway.verbs import VERBS, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from client.protocol import Message

MOST_STEPS: Final = 1000
HOOKS_QUEUE: Final = "hooks"
_TRACE: Final = frozenset({"TRACEPARENT", "TRACESTATE"})
_NEW_JOBS: Final = ("submit", "submit_array", "submit_flow", "schedule")


class Reference(msgspec.Struct, frozen=True):
    """Something that exists and is named at `holder[key]`.

    `kind`: "job", "group", "schedule", or "either" (a job or a group).
    """

    kind: str
    field: str
    holder: Message
    key: str

    @property
    def text(self) -> str:
        """How it is named."""
        return str(self.holder[self.key])

    def is_now(self, full_id: str) -> None:
        """Name it by its id from here on."""
        self.holder[self.key] = full_id


class Asked:
    """One request: `act` for the policy, `references` to be resolved, `about` for the audit log."""

    def __init__(self, op: str, args: object, environment: Mapping[str, str] | None = None) -> None:
        """Raises RequestRefused (`bad-request`, `invalid-argument`)."""
        self.op = op
        _check_depth(args)
        self._args = _named(args, "args", "bad-request")
        self._steps: list[Message] = []
        self._submissions: list[tuple[str, Message]] = []
        if op in _NEW_JOBS:
            self._read_new(environment or {})
        self.references = list(self._find_references())
        self.act = self._act()

    def args(self) -> Message:
        """What is to be sent."""
        if self._steps:
            steps = [msgpack.packb(step, use_bin_type=True) for step in self._steps]
            return {**self._args, "steps": steps}
        return self._args

    def narrow(self, select: Message) -> None:
        """Ask for that selection instead."""
        self._args["select"] = select

    @property
    def select(self) -> Message:
        """The selection of `list` and `stop_many`."""
        select: Message = self._args.get("select") or {}
        return select

    def about(self) -> Message:
        """What the audit log says of it: nothing that may be a secret."""
        found = {key: self._args.get(key) for key in ("job", "group", "schedule", "name")}
        if not self._submissions:
            found |= {"fields": ",".join(sorted(self._args)), "of_user": self._args.get("user")}
        if self.op in ("list", "stop_many"):
            found |= {f"select_{key}": self.select.get(key) for key in ("queue", "name", "user")}
        if self._submissions:
            _, first = self._submissions[0]
            named = {key: first.get(key) for key in ("queue", "user", "group")}
            found |= {f"submit_{key}": value for key, value in named.items()}
            found["name"] = found["name"] or first.get("name")
        if self._steps:
            return {**found, "steps": len(self._steps)}
        return {**found, **self._command()}

    def _command(self) -> Message:
        holder = self._submissions[0][1] if self._submissions else self._args
        argv = holder.get("argv")
        if not isinstance(argv, list) or not argv:
            return {}
        return {"argv0": argv[0] if isinstance(argv[0], str | bytes) else "?", "argc": len(argv)}

    # What is submitted

    def _read_new(self, environment: Mapping[str, str]) -> None:
        if self.op == "submit":
            self._submissions = [("", self._args)]
        elif self.op == "submit_flow":
            self._read_steps()
        else:
            self._args["submit"] = _named(self._args.get("submit"), "submit")
            self._submissions = [("submit.", self._args["submit"])]
        holder = self._args if self.op == "submit_flow" else self._submissions[0][1]
        _add_trace(holder, environment)

    def _read_steps(self) -> None:
        steps = self._args.get("steps")
        if not isinstance(steps, list) or not 0 < len(steps) <= MOST_STEPS:
            raise invalid("steps", "no steps, or too many", f"1 to {MOST_STEPS} steps")
        for number, step in enumerate(steps):
            at = f"steps[{number}]"
            fields = _decoded(step, at)
            fields["submit"] = _named(fields.get("submit"), f"{at}.submit")
            self._steps.append(fields)
            self._submissions.append((f"{at}.submit.", fields["submit"]))

    def _act(self) -> Act:
        args, op = self._args, self.op
        return Act(
            op=op,
            submitted=tuple(_submitted(at, fields) for at, fields in self._submissions),
            names=tuple(self._names()),
            queues=tuple(self._queues()),
            users=tuple(self._users()),
            priority=_whole(args, "priority") if op in ("update", "update_group") else None,
            command_bytes=_command_bytes(args) if op == "exec" else _hooks_bytes(args),
            request_bytes=_size(args) if op in _NEW_JOBS else 0,
        )

    def _names(self) -> Iterator[tuple[str, str | None]]:
        """Names that what is made would have."""
        if self.op in ("submit", "submit_flow", "schedule"):
            yield "name", _text(self._args, "name", "name")
        if self.op in ("submit_array", "schedule"):
            yield "submit.name", _text(self._args["submit"], "name", "submit.name")

    def _queues(self) -> Iterator[tuple[str, str]]:
        """Queues that it would change, or put a job into."""
        if self.op == "queue":
            yield "name", _text(self._args, "name", "name") or ""
        for at, fields in [*self._submissions, ("", self._args if self._steps else {})]:
            if fields.get("hooks"):
                # They run there, whatever queue their job is in.
                yield f"{at}hooks", HOOKS_QUEUE
        found = None
        if self.op == "move":
            found = "queue", _text(self._args, "queue", "queue")
        elif self.op in ("list", "stop_many"):
            found = "select.queue", _text(self.select, "queue", "select.queue")
        if found is not None and found[1] is not None:
            yield found[0], found[1]

    def _users(self) -> Iterator[tuple[str, str | int]]:
        if self.op == "prune":
            user = "everybody" if self._args.get("everybody") else _user(self._args, "user", "user")
        elif self.op in ("list", "stop_many"):
            user = _user(self.select, "user", "select.user")
        else:
            return
        if user is not None:
            yield ("user" if self.op == "prune" else "select.user"), user

    # What is named

    def _find_references(self) -> Iterator[Reference]:
        verb = VERBS.get(self.op)
        if self.op in ("list", "stop_many"):
            if "select" in self._args:
                self._args["select"] = _named(self._args["select"], "select")
            elif self.op == "stop_many":
                # Never everything because somebody forgot to say what.
                raise invalid("select", "nothing", "it is required")
            yield from _reference("group", "select.group", self.select, "group")
        if verb is None:
            return
        if self.op == "events":
            yield from _reference("either", "job", self._args, "job")
        elif verb.target in _KEYS and self.op != "schedules":
            key = _KEYS[verb.target]
            yield _needed(key, self._args)
        if self.op == "move":
            yield from _reference("job", "before", self._args, "before")
        for at, fields in self._submissions:
            yield from _after(at, fields)


_KEYS: Final = {Target.JOB: "job", Target.GROUP: "group", Target.SCHEDULE: "schedule"}


def _after(at: str, fields: Message) -> Iterator[Reference]:
    """What a job is to come after."""
    if "after" not in fields:
        return
    after = fields["after"]
    if not isinstance(after, list):
        raise invalid(f"{at}after", f"a {type(after).__name__}", "a list of jobs to come after")
    fields["after"] = [_named(each, f"{at}after[{n}]") for n, each in enumerate(after)]
    for number, each in enumerate(fields["after"]):
        yield from _reference("either", f"{at}after[{number}].job", each, "job")


def _reference(kind: str, field: str, holder: Message, key: str) -> Iterator[Reference]:
    if _text(holder, key, field) is not None:
        yield Reference(kind, field, holder, key)


def _needed(key: str, args: Message) -> Reference:
    if _text(args, key, key) is None:
        raise invalid(key, "nothing", "it is required")
    return Reference(key, key, args, key)


def _submitted(at: str, fields: Message) -> Submitted:
    net = fields.get("net")
    network = None if net is None else _text(_named(net, f"{at}net"), "name", f"{at}net.name")
    return Submitted(
        at=at,
        queue=_text(fields, "queue", f"{at}queue") or DEFAULT_QUEUE,
        priority=_whole(fields, "priority", at) or 0,
        user=_user(fields, "user", f"{at}user"),
        group=_user(fields, "group", f"{at}group"),
        command_bytes=max(_command_bytes(fields), _hooks_bytes(fields)),
        network=network,
    )


def _decoded(step: object, at: str) -> Message:
    if not isinstance(step, bytes | bytearray):
        raise invalid(at, f"a {type(step).__name__}", "a step, encoded with msgpack")
    try:
        return _named(protocol.decode_body(bytes(step), protocol.MAX_REQUEST_CONTAINERS), at)
    except protocol.FrameError as error:
        raise invalid(at, shown(error), "a step, encoded with msgpack") from None


def _check_depth(value: object) -> None:
    """Level by level, for what is nested too deep would break who goes through it recursively."""
    level = [value]
    for _ in range(protocol.MAX_DEPTH):
        level = [
            item
            for each in level
            if isinstance(each, dict | list | tuple)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise RequestRefused("invalid-argument", detail=f"nested deeper than {protocol.MAX_DEPTH}")


def _named(value: object, field: str, code: str = "invalid-argument") -> Message:
    """A copy of a map whose keys are names."""
    if not isinstance(value, dict) or not all(type(key) is str for key in value):
        raise RequestRefused(code, field=field, given=f"a {type(value).__name__}",
                             allowed="a map of names")  # fmt: skip
    return dict(value)


def _text(holder: Message, key: str, field: str) -> str | None:
    value = holder.get(key)
    if value is not None and type(value) is not str:
        raise invalid(field, f"a {type(value).__name__}", "text")
    return value


def _user(holder: Message, key: str, field: str) -> str | int | None:
    value = holder.get(key)
    if value is not None and type(value) not in {str, int}:
        raise invalid(field, f"a {type(value).__name__}", "a name or a number")
    return value


def _whole(holder: Message, key: str, at: str = "") -> int | None:
    value = holder.get(key)
    if value is not None and type(value) is not int:
        raise invalid(f"{at}{key}", f"a {type(value).__name__}", "a whole number")
    return value


def _command_bytes(holder: Mapping[str, Any]) -> int:
    """What a command takes for execve(2), each argument with its NUL; 0 of what is none."""
    argv = holder.get("argv")
    if not isinstance(argv, list):
        return 0
    return sum(_bytes_of(each) + 1 for each in argv)


def _hooks_bytes(holder: Mapping[str, Any]) -> int:
    hooks = holder.get("hooks")
    if not isinstance(hooks, list):
        return 0
    return max((_command_bytes(hook) for hook in hooks if isinstance(hook, dict)), default=0)


def _bytes_of(argument: object) -> int:
    if isinstance(argument, str):
        return len(argument.encode("utf-8", "surrogatepass"))
    return len(argument) if isinstance(argument, bytes) else 0


def _size(args: Message) -> int:
    """How long the arguments are on the wire; 0 of what cannot be sent, which is refused later."""
    try:
        return len(msgpack.packb(args, use_bin_type=True))
    except (ValueError, OverflowError, TypeError):
        return 0


def _add_trace(holder: Message, environment: Mapping[str, str]) -> None:
    """Put the trace into the environment, unless the caller has one of its own there."""
    env = holder.get("env", {})
    if not environment or not isinstance(env, dict):
        return
    names = {key.decode("latin-1") if isinstance(key, bytes) else key for key in env}
    if _TRACE.isdisjoint(names):
        holder["env"] = {**environment, **env}
