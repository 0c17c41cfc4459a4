"""How runctl ends: exit statuses for whatever goes wrong, and never a traceback.

125 is every failure of our own (wrong usage included, as with `env` and `timeout`), so that
it cannot be taken for a status of the job. The verbs raise; this module alone decides.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from client.cli.common import flush, say

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURE: Final = 125
INTERRUPTED: Final = 128 + 2
READER_GONE: Final = 128 + 13

# What write(2) fails with, and nothing else that runctl does without saying on which file.
_OUTPUT_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def guarded(body: Callable[[], Any]) -> Any:  # noqa: ANN401  a verb's result
    """Run a verb, flush its output; click.exceptions.Exit for what click would handle its way."""
    try:
        result = body()
        flush()
    except BrokenPipeError:
        _drop_output()
        raise click.exceptions.Exit(READER_GONE) from None
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
    return result


def finish(body: Callable[[], Any]) -> NoReturn:
    """Run the whole command and exit with its status; RUNCTL_DEBUG=1 shows tracebacks."""
    _open_standard_descriptors()
    _escape_unencodable()
    try:
        result = body()
        status = result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        status = FAILURE
    except (click.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except Exception as error:  # noqa: BLE001  the last catch: a person reads what comes of it
        status = _failure(error)
    sys.exit(status)


def _failure(error: Exception) -> int:
    from client.errors import ClientError, describe

    if os.environ.get("RUNCTL_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    if isinstance(error, ClientError):
        say(describe(error))
    elif isinstance(error, OSError):
        say(_file_error(error))
    else:
        say(f"a defect: {type(error).__name__}: {error} (RUNCTL_DEBUG=1 shows where)")
    _drop_output()
    return FAILURE


def _file_error(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.filename:
        return f"{reason} {error.filename!r}"
    return f"cannot write to stdout: {reason}" if error.errno in _OUTPUT_ERRORS else reason


def _open_standard_descriptors() -> None:
    """Occupy a closed 0, 1 or 2: else the socket would become "stdout".

    For reading only, so that a write fails (EBADF) as it does for every other program.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        # Python gave up on the closed descriptor as it started; what is written must fail.
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _escape_unencodable() -> None:
    """What the locale cannot show is escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Send what is still buffered to nowhere: Python would fail on it at exit, with status 120."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
