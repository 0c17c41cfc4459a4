"""What the authority has signed and taken back: one JSON file, written whole.

It is written before a certificate is handed out, so there is none that could not be revoked. Only
whoever holds the lock of `files` may change it. Times are Unix seconds.
"""

from __future__ import annotations

import msgspec

from gateway.pki import files
from gateway.pki.certificates import Kind  # noqa: TC001  msgspec reads the annotation
from gateway.pki.errors import PkiError


class Entry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One certificate."""

    serial: str  # lower-case hex without leading zeros
    kind: Kind
    name: str  # that of its files
    subject: str  # its first URI, or CN=…
    issued: int
    ends: int
    directory: str  # where its files were written
    revoked: int | None = None
    reason: str | None = None

    def counts(self, now: float) -> bool:
        """Whether it would be let in."""
        return self.revoked is None and now <= self.ends

    def state(self, now: float) -> str:
        """In a word."""
        if self.revoked is not None:
            return "revoked"
        return "valid" if now <= self.ends else "ended"


class Index(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All of them, and the number of the last revocation list."""

    version: int = 1
    list_number: int = 0
    list_days: int
    certificates: list[Entry] = []

    def by_serial(self, serial: str) -> Entry | None:
        """The one with that serial."""
        return next((one for one in self.certificates if one.serial == serial), None)

    def by_name(self, name: str) -> list[Entry]:
        """All of that name, oldest first."""
        return [one for one in self.certificates if one.name == name]

    def by_subject(self, subject: str) -> list[Entry]:
        """All of that subject, oldest first."""
        return [one for one in self.certificates if one.subject == subject]


def load(path: str) -> Index:
    """Raises PkiError: it cannot be read, or is not what this program writes."""
    try:
        index = msgspec.json.decode(files.read(path), type=Index)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PkiError(f"{path} is damaged: {error}; take it from a backup") from None
    if index.version != 1:
        raise PkiError(f"{path} is of a newer runner-gateway (version {index.version})")
    return index


def save(path: str, index: Index) -> None:
    """In the place of the one before, at once. Raises PkiError."""
    content = msgspec.json.format(msgspec.json.encode(index), indent=1) + b"\n"
    files.write(path, content, files.PRIVATE, replace=True)
