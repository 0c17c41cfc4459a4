"""The id of what was just made, on stdout: the one answer that nobody can ask for again.

Where it cannot be written it is said on stderr, so that what was made is not lost to who made it.
"""

from __future__ import annotations

from typing import Any

from client.cli.common import flush, say, write, write_json
from client.text import printable


def announce(what: str, made: str, record: Any, *, as_json: bool, done: str = "submitted") -> None:  # noqa: ANN401 - what --json gives
    """Print the id `made` of a job, array, flow or schedule (`what`), or its `record` as JSON.

    Raises BrokenPipeError when nobody reads, ClientError when it cannot be written otherwise.
    """
    text = f"{what} {made} was {done}"
    try:
        if as_json:
            write_json(record)
        else:
            write(f"{printable(made)}\n")
        flush()
    except BrokenPipeError:
        say(text)
        raise
    except OSError as error:
        from client.errors import ClientError

        raise ClientError(f"{text}; cannot write its id to stdout: {error.strerror}") from error
