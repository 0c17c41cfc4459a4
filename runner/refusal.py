"""A request that is refused: the error codes of docs/PROTOCOL.md as an exception."""

from __future__ import annotations

from typing import Any, Final, TypedDict

_SHOWN_CHARS: Final = 80
_MOST_CHARS: Final = 500


class GroupGiven(TypedDict):
    """The group that was named where a job is meant (`is-group`): its id, kind and size."""

    group: str
    kind: str
    jobs: int


class Refusal(Exception):  # noqa: N818 - the word of the protocol, not a failure of ours
    """Carries what the client is told: a stable code and the data that explains it."""

    def __init__(
        self,
        code: str,
        *,
        field: str | None = None,
        given: str | None = None,
        allowed: str | None = None,
        detail: str | None = None,
        candidates: list[str] | None = None,
        group: GroupGiven | None = None,
    ) -> None:
        fields: dict[str, Any] = {
            "field": field,
            "given": given,
            "allowed": allowed,
            "detail": detail,
            "candidates": candidates,
            **(group or {}),
        }
        self.code = code
        self.fields: dict[str, Any] = {
            name: _sendable(value) if isinstance(value, str) else value
            for name, value in fields.items()
            if value is not None
        }
        super().__init__(code, self.fields)

    def __str__(self) -> str:
        """For the log: the code and what explains it."""
        return "; ".join([self.code, *(f"{name}: {value}" for name, value in self.fields.items())])

    def to_wire(self) -> dict[str, Any]:
        """The `error` map of an answer."""
        return {"code": self.code, **self.fields}


def unavailable(field: str, why: str, remedy: str) -> Refusal:
    """The refusal of what this host cannot enforce. `why` and `remedy` are clauses."""
    return Refusal("limit-unavailable", field=field, detail=f"{why}; {remedy}.")


def _sendable(text: str) -> str:
    """Undecodable bytes of a path (PEP 383) cannot travel as text, nor need long text."""
    shortened = text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}…"
    return shortened.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(value: object) -> str:
    """What somebody sent, as a short printable text."""
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
