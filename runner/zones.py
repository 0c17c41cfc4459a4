"""Time zones of this host by their names (tzfile(5)), and its own. Reads files, decides nothing."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from datetime import tzinfo

_LOCAL: Final = "/etc/localtime"
_DATABASE: Final = "/zoneinfo/"


def named(name: str) -> tzinfo:
    """The zone of a name such as Europe/Berlin. Raises ValueError when this host has none."""
    try:
        return ZoneInfo(name)
    # A name may be that of a directory, of another file, of one that nobody may read.
    except (KeyError, ValueError, OSError):
        raise ValueError("a time zone of this host, such as Europe/Berlin or UTC") from None


@cache
def local() -> tzinfo:
    """The host's own zone as it was when it was first asked for: TZ, /etc/localtime, else UTC."""
    with suppress(ValueError):
        return named(os.environ.get("TZ", "").removeprefix(":"))
    with suppress(OSError, ValueError):
        _, _, name = os.path.realpath(_LOCAL).rpartition(_DATABASE)
        with open(_LOCAL, "rb") as file:
            return ZoneInfo.from_file(file, key=name or None)
    return ZoneInfo("UTC")
