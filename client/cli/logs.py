"""`runctl logs`: a job's output again, from any offset, or as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.cli.common import job_argument, json_option, naming, open_client, write_json

if TYPE_CHECKING:
    from client.logstream import LogChunk, LogGap, LogStream


@click.command(name="logs", short_help="Show a job's output.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option(
    "--cursor",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Begin at this offset of the whole output, in bytes.",
)
@job_argument
@json_option
@click.pass_obj
def command(socket_path: str | None, *, job: str, cursor: int, follow: bool, as_json: bool) -> None:
    """Write a job's stdout to stdout and its stderr to stderr, byte for byte.

    Ctrl-C ends following; the job goes on.
    """
    with (
        open_client(socket_path) as client,
        naming(job),
        client.logs(job, cursor=cursor, follow=follow) as stream,
    ):
        (_write_lines if as_json else _write_bytes)(stream)


def _write_bytes(stream: LogStream) -> None:
    from client.cli.copy import say_gap, write_batch

    for batch in stream.batches():
        write_batch(batch, say_gap, _write)


def _write(descriptor: int, data: bytes) -> None:
    from client.cli.copy import STDERR_FD, write_all
    from client.errors import ClientError

    try:
        write_all(descriptor, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "stderr" if descriptor == STDERR_FD else "stdout"
        raise ClientError(f"cannot write to {name}: {error.strerror}") from error


def _write_lines(stream: LogStream) -> None:
    """One JSON object an item; at the end one with the cursor and the job."""
    for item in stream:
        write_json(_line(item), line=True)
    write_json({"cursor": stream.cursor, "status": stream.status}, line=True)


def _line(item: LogChunk | LogGap) -> dict[str, object]:
    from client.logstream import LogGap
    from client.protocol import STDERR

    if isinstance(item, LogGap):
        return {"offset": item.offset, "gap_bytes": item.gap_bytes}
    return {
        "offset": item.offset,
        "stream": "stderr" if item.stream == STDERR else "stdout",
        "time_ns": item.time_ns,
        **_data(item.data),
    }


def _data(data: bytes) -> dict[str, object]:
    """Under "text" when it is UTF-8 (a chunk may end within a character), else "base64"."""
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"base64": b64encode(data).decode("ascii")}
