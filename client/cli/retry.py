"""`runctl retry`: run jobs that have ended once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.cli.common import (
    each,
    jobs_are,
    jobs_argument,
    json_option,
    open_client,
    short,
    write,
    write_json,
)

if TYPE_CHECKING:
    from client.contexts import Target


@click.command(name="retry", short_help="Run jobs that have ended once more.")
@jobs_argument
@json_option
@click.pass_obj
def command(target: Target | None, *, jobs: tuple[str, ...], as_json: bool) -> int:
    """Queue each JOB, which must have ended, once more: as a new attempt under the same id.

    Of an array or a flow what failed is queued, and what was skipped for it. An attempt has a log
    of its own; `runctl logs --attempt 1` shows the first one's.
    """
    with open_client(target) as client:

        def retry(job: str) -> None:
            retried = client.retry(job)
            if as_json:
                write_json(retried, line=True)
            else:
                write(f"{short(retried['job'])} is queued, attempt {retried['attempt']}\n")

        def retry_group(group: str) -> None:
            retried = client.retry_group(group)
            if as_json:
                write_json(retried, line=True)
            else:
                write(f"{short(retried['group'])}: {jobs_are(retried['jobs'])} queued again\n")

        return each(jobs, retry, None, retry_group)
