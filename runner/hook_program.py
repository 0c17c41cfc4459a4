"""The program that tells a web address, and the Python that runs it: whether a user can use it.

Its text travels in the environment of the hook's job (`runner.hook_address`), so that nothing of
runnerd has to be readable. What has to be is a Python: the daemon's own.
"""

from __future__ import annotations

import os
import sys
from functools import cache, partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.message_hooks import HookRequest
    from runner.paths import UserPaths
    from runner.users import Account

# In the environment: what is in argv can be read by every user of the host.
TEXT: Final = b"RUNNERD_HOOK_PROGRAM"
_LIBRARY: Final = os.fsencode(os.path.realpath(os.__file__))
_START: Final = b'import os; exec(os.environ.pop("RUNNERD_HOOK_PROGRAM"))'


@cache
def text() -> bytes:
    """The program."""
    # Read, not imported: with it would come all that speaks HTTP, for good.
    with open(os.path.join(os.path.dirname(__file__), "hook_address.py"), "rb") as file:
        return file.read()


def command() -> list[bytes]:
    """What runs it, with nothing of the user's or the site's own modules: -I and -S."""
    return [_interpreter(), b"-I", b"-S", b"-c", _START]


def _interpreter() -> bytes:
    """The daemon's own; of a virtual environment that which it was made of, which others reach."""
    return os.fsencode(os.path.realpath(sys.executable))


async def check_hooks(
    paths: UserPaths, account: Account, hooks: Sequence[HookRequest], field: str = "hooks"
) -> None:
    """Whether an account can run the program, if a hook of these wants it. Raises Refusal."""
    for index, hook in enumerate(hooks):
        if hook.url is not None:
            await check(paths, account, f"{field}[{index}].url")
            return


async def check(paths: UserPaths, account: Account, field: str) -> None:
    """Whether an account can run the program. Raises Refusal for the field."""
    allowed = (
        f"an address only where the user {account.name} can run runnerd's Python: install it where "
        "everybody can read it (not in /root), or use a command such as curl"
    )
    for path in (_interpreter(), _LIBRARY):
        await paths.ask(account, field, path, partial(_look, path), allowed)


def _look(path: bytes) -> None:
    """Whether a file can be read, which for a Python that is installed means executed, too."""
    os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
