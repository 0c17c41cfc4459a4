"""How runctl ends: exit statuses for whatever goes wrong, and never a traceback.

125 is every failure of our own (wrong usage included, as with `env` and `timeout`), so that
it cannot be taken for a status of the job. The verbs raise; this module alone decides.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from client.cli.common import say

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURE: Final = 125
INTERRUPTED: Final = 128 + 2
READER_GONE: Final = 128 + 13


def guarded(body: Callable[[], Any]) -> Any:  # noqa: ANN401  a verb's result
    """Run a verb, flush its output; click.exceptions.Exit for what click would handle its way."""
    try:
        result = body()
        _flush()
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
        where = f" {error.filename!r}" if error.filename else ""
        say(f"{error.strerror or error}{where}")
    else:
        say(f"a defect: {type(error).__name__}: {error} (RUNCTL_DEBUG=1 shows where)")
    _drop_output()
    return FAILURE


def _open_standard_descriptors() -> None:
    """Open /dev/null on a closed 0, 1 or 2: else the socket would become "stdout"."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _escape_unencodable() -> None:
    """What the locale cannot show is escaped, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    # None when the descriptor was closed as Python started.
    if sys.stdout is not None:
        sys.stdout.flush()


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
