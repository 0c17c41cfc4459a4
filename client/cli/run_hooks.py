"""The options of `run` for hooks: what is done when a job begins, pauses, is tried again or ends.

Only what cannot be read is refused here; which events there are, and whether an address can be, is
the daemon's to say.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, Final, cast

import click

from client.cli.quantity import Quantity
from client.cli.sections import all_of, option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client.records import Hook, HookEvent

HOOKS: Final = "Hooks"

# The words of this command line for the fields of the protocol.
WORDS: Final = {
    "hooks": "--hook",
    "hooks.on": "--hook",
    "hooks.argv": "--hook",
    "hooks.url": "--hook",
    "hooks.timeout_seconds": "--hook",
    "hooks.memory_max_bytes": "--hook",
    "hooks.retries": "--hook",
    "hooks.network": "--hook-net",
}

_ALLOWED: Final = (
    "EVENT[,EVENT...]=COMMAND or EVENT[,EVENT...]=https://... is allowed, EVENT one of started, "
    "paused, resumed, retry, ended, ok, fail"
)
_SCHEMES: Final = ("https://", "http://")
# Of an address (RFC 3986): no command begins so.
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)
_SHOWN_CHARS: Final = 40


def _hook(text: str) -> Hook:
    """Events before the first "=", behind it words of a command, as sh would split them."""
    names, equals, what = text.partition("=")
    events = [name.strip() for name in names.split(",")]
    if not (equals and all(events)):
        raise _wrong(names if equals else text, _ALLOWED)
    on = cast("list[HookEvent]", events)
    if what.lstrip().lower().startswith(_SCHEMES):
        return {"on": on, "url": what.strip()}
    try:
        argv = shlex.split(what)
    except ValueError as error:
        raise _wrong(names, f"its command cannot be read ({error}); {_ALLOWED}") from None
    if not argv:
        raise _wrong(text, f"a command is missing; {_ALLOWED}")
    if _SCHEME.match(argv[0]):
        raise _wrong(names, f"its address has to begin with https:// or http://; {_ALLOWED}")
    return {"on": on, "argv": list[str | bytes](argv)}


def _wrong(text: str, allowed: str) -> ValueError:
    """Without the command or the address, which may hold a secret."""
    shown = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
    return ValueError(f"{shown!a} given; {allowed}")


HOOK: Final = Quantity("hook", _hook)

hook_options: Final = all_of([
    option("--hook hooks", HOOKS, type=HOOK, multiple=True, metavar="EVENT[,EVENT...]=COMMAND|URL",
           help="Run COMMAND as yourself, or tell URL, when that happens: started, paused, "
                "resumed, retry, ended, ok, fail. May be repeated."),
    option("--hook-net", HOOKS, metavar="none|host|private",
           help="The network of hooks (default: host)."),
])  # fmt: skip


def asked_hooks(options: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `Client.submit` for what was typed. Raises click.UsageError."""
    hooks: tuple[Hook, ...] = options["hooks"]
    network = options["hook_net"]
    if network is None:
        return {"hooks": list(hooks)} if hooks else {}
    if not hooks:
        raise click.UsageError("--hook-net goes with --hook")
    return {"hooks": [{**hook, "network": network} for hook in hooks]}
