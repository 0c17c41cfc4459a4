"""What a request may ask to be done when a job's state changes. Fields, units and bounds.

A hook is a command of the submitter's, or a web address that is told. What contradicts itself is
looked at in `runner.message_queue_checks`; how it is run is `runner.hook_calls`' to do.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from client import protocol
from runner.message_kinds import PIB, Closed, OsText

MOST_HOOKS: Final = 8
# Of a group only the last three.
HookEvent = Annotated[
    Literal["started", "paused", "resumed", "retry", "ended", "ok", "fail"],
    Meta(description="started, paused, resumed, retry, ended, ok or fail"),
]


class HookRequest(Closed, frozen=True):
    """A command (`argv`) or a web address (`url`) for some changes of state; exactly one of them.

    It runs as the job's user, in its directory and environment, as a job of its own. `retries`:
    how often it is tried again when it fails.
    """

    on: Annotated[list[HookEvent], Meta(min_length=1, max_length=7)]
    argv: Annotated[list[OsText], Meta(min_length=1, max_length=protocol.MAX_ARGUMENTS)] | None = (
        None
    )
    url: (
        Annotated[
            str,
            Meta(
                max_length=2048,
                pattern=r"\Ahttps?://[!-~]+\Z",
                description="an address that begins with https:// or http://, at most 2048 "
                "printable ASCII characters",
            ),
        ]
        | None
    ) = None
    timeout_seconds: Annotated[float, Meta(ge=1, le=3600)] = 60.0
    memory_max_bytes: Annotated[int, Meta(ge=4 * 1024 * 1024, le=PIB)] = 256 * 1024 * 1024
    retries: Annotated[int, Meta(ge=0, le=10)] = 3
    network: Annotated[
        Literal["none", "host", "private"], Meta(description="none, host or private")
    ] = "host"

    def __repr__(self) -> str:
        """Without the command and the address, which may hold a secret."""
        return f"HookRequest(on={self.on!r})"


Hooks = Annotated[list[HookRequest], Meta(max_length=MOST_HOOKS)]
