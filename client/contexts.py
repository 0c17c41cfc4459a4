"""Gateways by name: the contexts of ${XDG_CONFIG_HOME:-~/.config}/runnerd, read and written.

contexts.toml holds them; the file `default-context` beside it holds the name of the one that is
used when none is given, so that the native runctl asks with one system call whether there is one.
Nothing here connects: that is `client.remote`'s.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from client import protocol
from client.errors import ClientError
from client.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_PORT: Final = 7443
# The runnerd of this machine, at its socket.
LOCAL: Final = "local"
_FILE: Final = "contexts.toml"
# Also known to client/native/runctl.c.
_DEFAULT_FILE: Final = "default-context"
_MAX_BYTES: Final = 1024 * 1024
_MAX_PORT: Final = 65_535
# Compiled when first used: every verb imports this.
_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?"
_NUMERIC_6: Final = r"[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,32})?"
_KEYS: Final = ("gateway", "ca", "cert", "key", "user")
_OTHERS_MAY_WRITE: Final = 0o022


class ContextError(ClientError):
    """A context that is not there or cannot be read or kept. `str()` is a sentence."""


class Context(NamedTuple):
    """A gateway, and how to be known to it: `ca`, `certificate` and `key` are paths of PEM files.

    `user` is the local user of its host to act as, where the certificate may be several.
    """

    name: str
    host: str
    port: int
    ca: str
    certificate: str
    key: str
    user: str | None = None

    @property
    def address(self) -> str:
        """HOST:PORT, as it is typed."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


# Whom a client speaks to: the runnerd at a socket's path, or a gateway.
Target = str | Context


def directory() -> str | None:
    """Where contexts are kept; None when neither XDG_CONFIG_HOME nor HOME says it."""
    # The XDG base directory specification: what is not absolute is ignored.
    if (base := os.environ.get("XDG_CONFIG_HOME", "")).startswith("/"):
        return os.path.join(base, "runnerd")
    home = os.environ.get("HOME", "")
    return os.path.join(home, ".config", "runnerd") if home.startswith("/") else None


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of HOST[:PORT] or [IPV6][:PORT]. Raises ContextError."""
    host, port = text, str(DEFAULT_PORT)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if bracket and rest.startswith(":"):
            port, rest = rest[1:], ""
        is_host = bool(bracket) and not rest and re.fullmatch(_NUMERIC_6, host) is not None
    else:
        if text.count(":") == 1:
            host, port = text.split(":")
        is_host = re.fullmatch(_HOST, host) is not None or _is_bare_6(host)
    if not is_host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= _MAX_PORT:
        raise ContextError(
            f"{text!a} given as a gateway; HOST, HOST:PORT or [IPV6]:PORT is allowed"
        )
    return host, int(port)


def _is_bare_6(host: str) -> bool:
    return host.count(":") > 1 and re.fullmatch(_NUMERIC_6, host) is not None


def check_name(name: str) -> str:
    """The name, if a context may have it. Raises ContextError."""
    if name == LOCAL:
        raise ContextError("a context cannot be called local: that is the runnerd of this machine")
    if not re.fullmatch(protocol.NAME_PATTERN, name) or len(name) > protocol.MAX_NAME_CHARS:
        raise ContextError(
            f"{name!a} given as a context's name; letters, digits, '.', '_' and '-' are "
            f"allowed, at most {protocol.MAX_NAME_CHARS}, the first a letter or digit"
        )
    return name


# Reading


def named(name: str) -> Context:
    """The context of that name. Raises ContextError."""
    contexts = every()
    if name in contexts:
        return contexts[name]
    known = ", ".join(contexts) or "there is none"
    raise ContextError(
        f"there is no context {name!a}, only: {known}; `runctl context add` makes one"
        if contexts
        else f"there is no context {name!a}; `runctl context add` makes one"
    )


def every() -> dict[str, Context]:
    """All of them by name, in the order of the file. Raises ContextError."""
    import tomllib

    where = _path(_FILE)
    data = None if where is None else _content(where)
    if where is None or data is None:
        return {}
    try:
        top = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContextError(f"{printable(where)}: {error}; mend it, or remove it") from None
    tables = top.get("contexts", {})
    if not isinstance(tables, dict) or not set(top) <= {"contexts"}:
        raise ContextError(f"{printable(where)}: tables [contexts.NAME] are allowed, nothing else")
    return {name: _context(name, table, where) for name, table in tables.items()}


def _context(name: str, table: Any, where: str) -> Context:  # noqa: ANN401  checked here
    about = f"{printable(where)}: context {name!a}"
    try:
        check_name(name)
        values = _values(table)
        host, port = parse_address(values["gateway"])
    except ContextError as error:
        raise ContextError(f"{about}: {error}") from None
    base = os.path.dirname(where)
    ca, cert, key = (os.path.join(base, values[word]) for word in ("ca", "cert", "key"))
    return Context(name, host, port, ca, cert, key, values.get("user"))


def _values(table: Any) -> Mapping[str, str]:  # noqa: ANN401  checked here
    known = ", ".join(_KEYS)
    if not isinstance(table, dict) or not set(table) <= set(_KEYS):
        raise ContextError(f"a table with {known} is allowed")
    for word in _KEYS:
        value = table.get(word)
        if value is None and word != "user":
            raise ContextError(f"it has no {word}; it needs gateway, ca, cert and key")
        if value is not None and (not isinstance(value, str) or not value or "\0" in value):
            raise ContextError(f"{word}: a text is allowed")
    return table


def default_name() -> str | None:
    """The name of the context that is used when none is given; None: this machine's runnerd.

    Raises ContextError when it cannot be read.
    """
    where = _path(_DEFAULT_FILE)
    data = None if where is None else _content(where)
    if data is None:
        return None
    name = data.decode("utf-8", "surrogateescape").strip()
    if name == LOCAL:
        return None
    try:
        return check_name(name)
    except ContextError as error:
        raise ContextError(f"{printable(where)}: {error}; `runctl context use` mends it") from None


def has_default() -> bool:
    """Whether there may be a default context: one system call where there is none."""
    where = _path(_DEFAULT_FILE)
    return where is not None and os.path.lexists(where)


def _path(name: str) -> str | None:
    base = directory()
    return None if base is None else os.path.join(base, name)


def _content(path: str) -> bytes | None:
    """What a file of ours holds; None when it is not there. Raises ContextError."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            # Whoever writes it says which authority is trusted.
            if status.st_mode & _OTHERS_MAY_WRITE or status.st_uid not in (0, os.geteuid()):
                raise ContextError(
                    f"{printable(path)} may be written by others; `chmod go-w`, and see whose it is"
                )
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ContextError(f"cannot read {printable(path)}: {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise ContextError(f"{printable(path)} is larger than {_MAX_BYTES} bytes")
    return data


# Writing


def add(context: Context, *, replace: bool = False) -> None:
    """Keep a context. Raises ContextError, also for one that is there unless it is to `replace`."""
    check_name(context.name)
    with _locked():
        contexts = every()
        if context.name in contexts and not replace:
            raise ContextError(
                f"there is a context {context.name} already; --replace overwrites it, "
                f"`runctl context rm {context.name}` removes it"
            )
        _write(_FILE, _as_toml({**contexts, context.name: context}))


def remove(name: str) -> bool:
    """Forget a context; whether it was the default, which there is none then.

    Raises ContextError.
    """
    with _locked():
        named(name)
        if was_default := default_name() == name:
            _unlink(_DEFAULT_FILE)
        _write(_FILE, _as_toml({key: kept for key, kept in every().items() if key != name}))
    return was_default


def use(name: str | None) -> None:
    """Make a context the default; None: this machine's runnerd. Raises ContextError."""
    with _locked():
        if name is None:
            _unlink(_DEFAULT_FILE)
        else:
            _write(_DEFAULT_FILE, f"{named(name).name}\n")


def _as_toml(contexts: Mapping[str, Context]) -> str:
    text = "# Kept by `runctl context`, see runctl(1). Paths may be relative to this directory.\n"
    for name, each in contexts.items():
        values = (each.address, each.ca, each.certificate, each.key, each.user)
        lines = (
            f"{word} = {_quoted(value)}\n"
            for word, value in zip(_KEYS, values, strict=True)
            if value is not None
        )
        text += f"\n[contexts.{_quoted(name)}]\n" + "".join(lines)
    return text


def _quoted(value: str) -> str:
    """A basic string of TOML: JSON's, but for DEL."""
    import json

    if printable(value) != value:
        raise ContextError(f"{value!a} given; text in UTF-8 without control characters is")
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@contextmanager
def _locked() -> Iterator[None]:
    """One writer at a time; makes the directory. Raises ContextError."""
    import fcntl

    base = directory()
    if base is None:
        raise ContextError("contexts are kept in ~/.config/runnerd, and HOME is not set")
    try:
        os.makedirs(base, mode=0o700, exist_ok=True)
        fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ContextError(f"cannot use {printable(base)}: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write(name: str, text: str) -> None:
    """All of it under that name, or what was there before. Raises ContextError."""
    path = str(_path(name))
    new = f"{path}.new"
    try:
        with suppress(FileNotFoundError):
            os.unlink(new)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.replace(new, path)
    except OSError as error:
        raise ContextError(f"cannot write {printable(path)}: {error.strerror}") from None


def _unlink(name: str) -> None:
    path = str(_path(name))
    try:
        with suppress(FileNotFoundError):
            os.unlink(path)
    except OSError as error:
        raise ContextError(f"cannot remove {printable(path)}: {error.strerror}") from None
