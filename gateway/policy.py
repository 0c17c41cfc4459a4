"""Who a certificate is here, and what that caller may ask for. Pure: decides and does nothing.

Deny by default: no binding, no role, no operation in `gateway.verbs` means no. What a request asks
for is read by `gateway.submissions`, the file by `gateway.policy_file`; runnerd enforces its own
policy, quotas and ownership after all this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gateway.scope import EVERYTHING, Scope
from gateway.verbs import ADMIN, VERBS, allowed_to

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.identity import Certificate

_ROOT: Final = frozenset({"root", "0"})
_SHOWN: Final = 64
# How the subject of a certificate without a URI begins (`gateway.identity`).
_COMMON_NAME: Final = "CN="


class Denied(Exception):  # noqa: N818  says what is
    """Nobody in this policy, or not for that user. `str()` is a sentence."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much one subject may have: rates by the second, counts at once, bytes of a request."""

    requests_per_second: float = 50.0
    burst: int = 100
    submissions_per_second: float = 20.0
    submission_burst: int = 50
    in_flight: int = 64
    streams: int = 32
    connections: int = 32
    max_command_bytes: int | None = None
    max_submission_bytes: int = 4 * 1024 * 1024
    max_priority: int | None = None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who was let in: whom it acts for, and what it may. `verbs` are operations."""

    subject: str
    serial: str
    user: str
    roles: frozenset[str]
    verbs: frozenset[str] = frozenset()
    scope: Scope = EVERYTHING
    bounds: Bounds = Bounds()

    @property
    def is_admin(self) -> bool:
        """Whether it may name users and groups, as far as runnerd lets it."""
        return ADMIN in self.roles


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the policy: which subjects (`match`, exact or with `*` at its end) are who here."""

    match: str
    user: str
    users: tuple[str, ...] = ()
    roles: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset()
    not_verbs: frozenset[str] = frozenset()
    scope: Scope = EVERYTHING
    bounds: Bounds = Bounds()

    @property
    def is_open(self) -> bool:
        """Whether it means all subjects that begin in a way, and not one alone."""
        return self.match.endswith("*")

    def fits(self, subject: str) -> bool:
        """Whether that subject is meant."""
        return subject.startswith(self.match[:-1]) if self.is_open else subject == self.match

    def operations(self) -> frozenset[str]:
        """What the roles allow, and `verbs`, without `not_verbs`."""
        of_roles = frozenset[str]().union(*map(allowed_to, self.roles))
        return (of_roles | self.verbs) - self.not_verbs


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """What one submission asks for, as far as the policy looks at it. `at` leads its fields."""

    at: str = ""
    queue: str = "default"
    priority: int = 0
    user: str | int | None = None
    group: str | int | None = None
    command_bytes: int = 0
    network: str | None = None


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for. `names`: field and name, None where it gives none.

    `max_command_bytes` is the gateway's own bound, for bindings without one.
    """

    op: str
    submitted: tuple[Submitted, ...] = ()
    names: tuple[tuple[str, str | None], ...] = ()
    queues: tuple[tuple[str, str], ...] = ()
    users: tuple[tuple[str, str | int], ...] = ()
    priority: int | None = None
    command_bytes: int = 0
    request_bytes: int = 0
    max_command_bytes: int | None = None


class Decision(msgspec.Struct, frozen=True):
    """Whether, and if not: the code of the refusal, why (a sentence), and the field that it is."""

    allowed: bool
    code: str = ""
    why: str = ""
    field: str | None = None


ALLOWED: Final = Decision(allowed=True)


class Policy:
    """Bindings in the order of the file, of which the first that fits counts.

    The first and not the most exact one: so the answer is found by reading from the top. One that
    can never count, because another above it always does, is an error of the file.
    """

    def __init__(self, bindings: Iterable[Binding] = ()) -> None:
        self._bindings = tuple(bindings)
        # There may be thousands, and each request asks: exact subjects and what is before a star,
        # each with its first place.
        self._exact, self._stems = dict[str, int](), dict[str, int]()
        for number, binding in enumerate(self._bindings):
            places = self._stems if binding.is_open else self._exact
            places.setdefault(binding.match.removesuffix("*"), number)
        self._lengths = sorted({len(stem) for stem in self._stems})

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """As they stand in the file."""
        return self._bindings

    def caller(self, certificate: Certificate, user: str | None = None) -> Caller:
        """Who the certificate is, acting for `user`, by default its binding's. Raises Denied."""
        binding = self._binding(certificate)
        return Caller(
            subject=certificate.subject,
            serial=certificate.serial,
            user=_user(binding, certificate.subject, user),
            roles=binding.roles,
            verbs=binding.operations(),
            scope=binding.scope,
            bounds=binding.bounds,
        )

    def bounds(self, certificate: Certificate) -> Bounds:
        """The bounds of the certificate's binding. Raises Denied."""
        return self._binding(certificate).bounds

    def decide(self, caller: Caller, act: Act) -> Decision:
        """Whether the caller may ask for that."""
        if act.op not in VERBS:
            return _refused("unknown-op", f"there is no operation {shown(act.op)}")
        if act.op not in caller.verbs:
            roles = ", ".join(sorted(caller.roles)) or "no role"
            return _no(f"{shown(caller.subject)} ({roles}) may not ask for {act.op}")
        checks = (_people, _places, _names, _priorities, _sizes)
        return next((no for check in checks if (no := check(caller, act)) is not None), ALLOWED)

    def _binding(self, certificate: Certificate) -> Binding:
        subject = certificate.subject
        if certificate.uris and subject.startswith(_COMMON_NAME):
            raise Denied("a URI of a certificate that looks like a common name is nobody's")
        found = self._first(subject)
        if found is None:
            raise Denied(f"no binding of the gateway's policy is for {shown(subject)}")
        return self._bindings[found]

    def _first(self, subject: str) -> int | None:
        """The place of the first binding that fits."""
        open_ones = self._first_open(subject)
        exact = self._exact.get(subject)
        return min((n for n in (open_ones, exact) if n is not None), default=None)

    def _first_open(self, text: str) -> int | None:
        starts = (text[:length] for length in self._lengths if length <= len(text))
        return min((self._stems[start] for start in starts if start in self._stems), default=None)

    def hidden(self) -> tuple[int, int] | None:
        """The first binding that can never count, and the one before it that always does; or None.

        By their places in the file, from 0.
        """
        for number, binding in enumerate(self._bindings):
            # What an open one means is within another one when its own beginning is.
            stem = binding.match.removesuffix("*")
            earlier = self._first_open(stem) if binding.is_open else self._first(stem)
            if earlier is not None and earlier < number:
                return number, earlier
        return None


def _user(binding: Binding, subject: str, asked: str | None) -> str:
    user = binding.user if asked is None else asked
    if user in _ROOT:
        raise Denied("nobody acts for root through a gateway")
    if user != binding.user and user not in binding.users:
        raise Denied(f"{shown(subject)} may not act for the user {shown(user)}")
    return user


def _people(caller: Caller, act: Act) -> Decision | None:
    """Users and groups are named by admins; everybody may name the user it acts for."""
    if caller.is_admin:
        return None
    users = [*act.users, *((f"{each.at}user", each.user) for each in act.submitted)]
    for field, user in users:
        if user is not None and user != caller.user:
            return _no(f"only the role admin names another user than {caller.user}", field)
    for each in act.submitted:
        if each.group is not None:
            return _no("only the role admin names a group to run in", f"{each.at}group")
    return None


def _places(caller: Caller, act: Act) -> Decision | None:
    queues = caller.scope.queues
    for field, queue in [*act.queues, *((f"{each.at}queue", each.queue) for each in act.submitted)]:
        if not caller.scope.has_queue(queue):
            return _no(
                f"the queue {shown(queue)} is none of {shown(caller.subject)}'s: "
                f"{', '.join(queues or ())}",
                field,
            )
    return None


def _names(caller: Caller, act: Act) -> Decision | None:
    patterns = ", ".join(caller.scope.names or ())
    networks = [(f"{each.at}net.name", each.network) for each in act.submitted if each.network]
    for field, name in [*act.names, *networks]:
        if not caller.scope.has_name(name):
            given = "a name is needed" if name is None else f"{shown(name)} is no name"
            return _no(f"{given} that {shown(caller.subject)} may use: {patterns}", field)
    return None


def _priorities(caller: Caller, act: Act) -> Decision | None:
    most = caller.bounds.max_priority
    asked = [("priority", act.priority), *((f"{e.at}priority", e.priority) for e in act.submitted)]
    for field, priority in asked:
        if most is not None and priority is not None and priority > most:
            return _no(f"{shown(caller.subject)} may give a priority of at most {most}", field)
    return None


def _sizes(caller: Caller, act: Act) -> Decision | None:
    bounds = caller.bounds
    if act.request_bytes > bounds.max_submission_bytes:
        why = f"{act.request_bytes} bytes are submitted; at most {bounds.max_submission_bytes}"
        return _wrong("submit", why)
    own = bounds.max_command_bytes
    most = act.max_command_bytes if own is None else own
    asked = [(f"{each.at}argv", each.command_bytes) for each in act.submitted]
    for field, size in [("argv", act.command_bytes), *asked]:
        if most is not None and size > most:
            return _wrong(field, f"a command of {size} bytes; at most {most} are taken here")
    return None


def _no(why: str, field: str | None = None) -> Decision:
    return _refused("not-permitted", why, field)


def _wrong(field: str, why: str) -> Decision:
    return _refused("invalid-argument", why, field)


def _refused(code: str, why: str, field: str | None = None) -> Decision:
    return Decision(allowed=False, code=code, why=why, field=field)


def shown(text: object) -> str:
    """What others chose, for a sentence: no control characters, shortened."""
    value = str(text)
    cut = value if len(value) <= _SHOWN else value[: _SHOWN - 1] + "…"
    return cut if cut.isprintable() else ascii(cut)
