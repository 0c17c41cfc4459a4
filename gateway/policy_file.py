"""The policy as a TOML file: checked whole, every error with its line, read again while running.

A file that somebody else could write is refused. Where a new one is broken the old one stays in
force, and that is logged once. What a policy decides is `gateway.policy`'s; docs/GATEWAY-POLICY.md
is for people.
"""

from __future__ import annotations

import difflib
import errno
import logging
import os
import re
import stat
import tomllib
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.policy import Binding, Bounds, Policy
from gateway.scope import MAX_PATTERN_CHARS, PATTERN, Scope
from gateway.verbs import VERBS

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BINDINGS: Final = 10_000
_MAX_FILE_BYTES: Final = 4 * 1024 * 1024
_logger: Final = logging.getLogger(__name__)

# useradd(8), and what directories of a network give; digits alone would be a number.
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,255}\$?", re.ASCII)
_MOST_MATCH_CHARS: Final = 300
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]
_Rate = Annotated[float, Meta(gt=0, le=1_000_000)]
_Bytes = Annotated[int, Meta(ge=1, le=64 * 1024 * 1024)]
_Role = Literal["viewer", "operator", "submitter", "admin"]
ROLES: Final[tuple[str, ...]] = get_args(_Role)


class PolicyError(Exception):
    """The policy cannot be used. The text names file, line and key: `FILE:7: roles: …`."""


class _Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[binding.limits]`: in place of the gateway's own."""

    requests_per_second: _Rate | UnsetType = UNSET
    burst: _Count | UnsetType = UNSET
    submissions_per_second: _Rate | UnsetType = UNSET
    submission_burst: _Count | UnsetType = UNSET
    in_flight: _Count | UnsetType = UNSET
    streams: _Count | UnsetType = UNSET
    connections: _Count | UnsetType = UNSET
    max_command_bytes: _Bytes | UnsetType = UNSET
    max_submission_bytes: _Bytes | UnsetType = UNSET
    max_priority: Annotated[int, Meta(ge=-1000, le=1000)] | UnsetType = UNSET


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[binding]]`."""

    match: str
    user: str
    users: tuple[str, ...] = ()
    roles: tuple[_Role, ...] = ()
    verbs: tuple[str, ...] = ()
    not_verbs: tuple[str, ...] = ()
    queues: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    limits: _Limits = _Limits()


class PolicyFile:
    """The file at `path` and the policy in force. `defaults` are bounds that a binding leaves out.

    Raises PolicyError when there is none to begin with. `error` says why the newest file is not in
    force. `noted` is told of each reload: whether it went well.
    """

    def __init__(
        self,
        path: str,
        *,
        defaults: Bounds | None = None,
        noted: Callable[[bool], None] = lambda _ok: None,
    ) -> None:
        self.path = path
        self.error: str | None = None
        self._defaults = defaults or Bounds()
        self._noted = noted
        self._stamp = _stamp_of(path)
        self._policy = load(path, self._defaults)

    @property
    def policy(self) -> Policy:
        """What is in force now."""
        return self._policy

    def poll(self) -> bool:
        """Read it again if it is another file, or has been changed; whether a new one counts."""
        return _stamp_of(self.path) != self._stamp and self.reload()

    def reload(self) -> bool:
        """Read it again; whether what is there now is in force. The old one stays otherwise."""
        self._stamp = _stamp_of(self.path)
        try:
            policy = load(self.path, self._defaults)
        except PolicyError as error:
            self.error = str(error)
            _logger.error("the policy stays as it was: %s", error)  # noqa: TRY400  all is said
            self._noted(False)  # noqa: FBT003
            return False
        was_broken, self.error = self.error is not None, None
        if was_broken or policy.bindings != self._policy.bindings:
            self._policy = policy
            _logger.info("%s: %d bindings are in force", self.path, len(policy.bindings))
        self._noted(True)  # noqa: FBT003
        return True


def load(path: str, defaults: Bounds | None = None) -> Policy:
    """The policy in a file. Raises PolicyError."""
    return parse(_read(path), path, defaults or Bounds())


def parse(text: str, path: str, defaults: Bounds) -> Policy:
    """The policy that a text is; `path` is for errors. Raises PolicyError."""
    source = _Source(path, text)
    document = source.parsed()
    entries = document.pop("binding", [])
    if document:
        key = next(iter(document))
        source.fail(None, key, "an unknown key; all there is are [[binding]] tables")
    if not isinstance(entries, list) or len(entries) > MOST_BINDINGS:
        source.fail(None, "binding", f"expected at most {MOST_BINDINGS} tables [[binding]]")
    bindings: list[Binding] = []
    for number, entry in enumerate(entries):
        bindings.append(source.binding(number, entry, defaults))
    policy = Policy(bindings)
    source.check_reached(policy)
    return policy


class _Source:
    """The text of a file, and how to speak of a place in it."""

    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._text = text

    def parsed(self) -> dict[str, Any]:
        """The TOML document. Raises PolicyError with tomllib's line."""
        try:
            return tomllib.loads(self._text)
        except RecursionError:
            raise PolicyError(f"{self._path}: nested too deep") from None
        # TOMLDecodeError, or the plain one of an integer of thousands of digits.
        except ValueError as error:
            place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
            line = int(place[1]) if place else self._text.rstrip("\n").count("\n") + 1
            raise PolicyError(f"{self._path}:{line}: not TOML: {error}") from None

    def fail(self, number: int | None, key: str | None, what: str) -> NoReturn:
        """Raise the PolicyError for a key of the binding `number`, from 0."""
        about = f"{key}: " if key else ""
        raise PolicyError(f"{self._path}:{self._line(number, key)}: {about}{what}")

    def binding(self, number: int, entry: object, defaults: Bounds) -> Binding:
        """One binding. Raises PolicyError for the first thing that is wrong with it."""
        try:
            read = msgspec.convert(entry, _Entry)
        except msgspec.ValidationError as error:
            self._fail_schema(number, str(error))
        for key, why in _wrong(read):
            self.fail(number, key, why)
        limits = {key: value for key in _Limits.__struct_fields__
                  if (value := getattr(read.limits, key)) is not UNSET}  # fmt: skip
        return Binding(
            match=read.match,
            user=read.user,
            users=read.users,
            roles=frozenset(read.roles),
            verbs=frozenset(read.verbs),
            not_verbs=frozenset(read.not_verbs),
            scope=Scope(read.queues, read.names),
            bounds=msgspec.structs.replace(defaults, **limits),
        )

    def check_reached(self, policy: Policy) -> None:
        """One that can never count is a mistake, and its writer believes otherwise. Raises."""
        if (found := policy.hidden()) is not None:
            number, earlier = found
            line = self._line(earlier, "match")
            self.fail(number, "match", f"never reached: line {line} means all of these before")

    def _fail_schema(self, number: int, text: str) -> NoReturn:
        if unknown := re.match(r"Object contains unknown field `(.*?)`", text, re.DOTALL):
            known = (*_Entry.__struct_fields__, *_Limits.__struct_fields__)
            near = difflib.get_close_matches(unknown[1], known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
            self.fail(number, ascii(unknown[1])[1:-1], f"an unknown key; {hint}")
        found = re.search(r" - at `\$\.?([A-Za-z_.]*)", text)
        key = found[1].rstrip(".") if found else ""
        what = (text[: found.start()] if found else text).replace("`", "")
        if wrong := re.match(r"Invalid enum value '(.*)'", what, re.DOTALL):
            near = difflib.get_close_matches(wrong[1], ROLES, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            what = f"no role {wrong[1]!a}; {hint}allowed are {', '.join(ROLES)}"
        self.fail(number, key or None, what[0].lower() + what[1:])

    def _line(self, number: int | None, key: str | None) -> int:
        """Of a key of a binding, else where that begins; what a text means tomllib has said."""
        at, table = -1, 1
        name = (key or "").rpartition(".")[2]
        for line, text in enumerate(self._text.split("\n"), start=1):
            if re.match(r"\s*\[\[\s*binding\s*\]\]", text):
                at, table = at + 1, line if at + 1 == number else table
            here = number is None or at == number
            if here and name and re.match(rf"\s*\[?\[?[\"']?{re.escape(name)}\b", text):
                return line
        return table


def _wrong(entry: _Entry) -> list[tuple[str, str]]:
    """What is wrong with a binding whose types are right: the key and why."""
    checks = (_wrong_match, _wrong_users, _wrong_verbs, _wrong_patterns)
    return [each for check in checks for each in check(entry)]


def _wrong_match(entry: _Entry) -> list[tuple[str, str]]:
    if not entry.match.isprintable() or not 0 < len(entry.match) <= _MOST_MATCH_CHARS:
        return [("match", f"expected 1 to {_MOST_MATCH_CHARS} printable characters")]
    if "*" in entry.match[:-1]:
        return [("match", "* stands for any characters at the end only")]
    return []


def _wrong_users(entry: _Entry) -> list[tuple[str, str]]:
    found = []
    for key, users in (("user", (entry.user,)), ("users", entry.users)):
        for user in users:
            if user == "root":
                found.append((key, "nobody acts for root through a gateway"))
            elif not _USER.fullmatch(user):
                found.append((key, f"expected the name of a user, got {user!a}"))
    return found


def _wrong_verbs(entry: _Entry) -> list[tuple[str, str]]:
    found = []
    for key, verbs in (("verbs", entry.verbs), ("not_verbs", entry.not_verbs)):
        for verb in verbs:
            if verb not in VERBS:
                near = difflib.get_close_matches(verb, VERBS, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                found.append((key, f"no operation {verb!a}{hint}"))
    if not entry.roles and not entry.verbs:
        found.append(("match", "neither roles nor verbs: it would allow nothing"))
    return found


def _wrong_patterns(entry: _Entry) -> list[tuple[str, str]]:
    found = []
    for key, patterns in (("queues", entry.queues), ("names", entry.names)):
        if patterns is not None and not patterns:
            found.append((key, "an empty list leaves nothing; without the key there is no bound"))
        found += [
            (key, f"expected names with * and ?, got {pattern!a}")
            for pattern in patterns or ()
            if len(pattern) > MAX_PATTERN_CHARS or not PATTERN.fullmatch(pattern)
        ]
    return found


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}{_advice(error)}") from None
    try:
        _check_owner(path, os.fstat(fd))
        with open(fd, "rb", closefd=False) as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)
    if len(data) > _MAX_FILE_BYTES:
        raise PolicyError(f"{path}: longer than {_MAX_FILE_BYTES} bytes")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"{path}:{line}: not UTF-8, which TOML is") from None


def _advice(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return (
            "; `runner-gateway init` makes what is missing, and docs/GATEWAY-POLICY.md says what"
            " is in it"
        )
    return "; the gateway's user must be able to read it" if error.errno == errno.EACCES else ""


def _check_owner(path: str, status: os.stat_result) -> None:
    """Who can write the policy is every user that it names. Raises PolicyError."""
    if not stat.S_ISREG(status.st_mode):
        raise PolicyError(f"{path}: no regular file")
    if status.st_mode & 0o022:
        mode = stat.S_IMODE(status.st_mode)
        raise PolicyError(f"{path}: others may write it (mode {mode:o}); chmod go-w it")
    if status.st_uid not in {0, os.geteuid()}:
        raise PolicyError(f"{path}: belongs to uid {status.st_uid}, neither root nor the gateway")


def _stamp_of(path: str) -> tuple[int, ...] | None:
    """Another one where the file is another, or was changed; None: it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
