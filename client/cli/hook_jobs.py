"""Jobs that hooks run, in the list of jobs: which of them say nothing, and what one does.

Pure. What a hook is, in the record of the job that has it, is `client.cli.queue_facts`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from client.cli.group_words import group_of
from client.text import command_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from client.records import GroupEntry, JobSummary

    Entry = JobSummary | GroupEntry

_QUEUE: Final = "hooks"
_LABEL: Final = "hook"
# How the program begins that tells a web address; what it is told is in its environment.
_TELLS: Final = 'exec(os.environ.pop("RUNNERD_HOOK_PROGRAM"))'


def is_hook(job: JobSummary) -> bool:
    """Whether runnerd made it for a hook of another job."""
    return job.get("queue") == _QUEUE and _LABEL in job.get("labels", {})


def without_done(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Without hooks that are done, and were: who looks for what was run does not mean these."""
    return (entry for entry in entries if not _is_done(entry))


def _is_done(entry: Entry) -> bool:
    if group_of(entry) is not None:
        return False
    job = cast("JobSummary", entry)
    result = job["result"]
    return bool(result and result["exit_status"] == 0 and is_hook(job))


def shown_command(job: JobSummary) -> str:
    """What a job runs; of a hook that tells a web address, that it does."""
    *_, text = job["argv"] or [""]
    if is_hook(job) and isinstance(text, str) and text.endswith(_TELLS):
        return "(tells a web address)"
    return command_line(job["argv"])
