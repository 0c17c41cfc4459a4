"""Where in a job's directory each of its attempts is: attempt 1 in itself, N in `attempt-N`.

Names, and opening and making by descriptor; nothing is ever renamed. What is in an attempt's
directory is `runner.jobdirs`'s. Functions raise OSError of the calls they make, ValueError for
what is no number of an attempt.
"""

from __future__ import annotations

import os
import re
from typing import Final

from runner.files import remove_tree

OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# One name for each: no leading zero.
_NAME: Final = re.compile(r"attempt-([1-9][0-9]{0,9})")


def path_within(attempt: int) -> str:
    """Where an attempt is below its job's directory: "" for the first."""
    return "" if attempt == 1 else _name(attempt)


def later(job_dir: int) -> list[int]:
    """The attempts from 2 on that have a directory, in order."""
    found = map(_NAME.fullmatch, os.listdir(job_dir))
    numbers = (int(match[1]) for match in found if match is not None)
    return sorted(number for number in numbers if number > 1)


def opened(dir_fd: int, job_id: str, attempt: int | None) -> int:
    """The directory of an attempt of the job `job_id` below `dir_fd`. None: of the newest."""
    job_dir = os.open(job_id, OPEN, dir_fd=dir_fd)
    if attempt == 1:
        return job_dir
    try:
        which = max(later(job_dir), default=1) if attempt is None else attempt
        return os.open(path_within(which) or ".", OPEN, dir_fd=job_dir)
    finally:
        os.close(job_dir)


def made_afresh(dir_fd: int, job_id: str, attempt: int) -> int:
    """A new directory for an attempt, opened. What was in its place is removed, no other is."""
    if attempt == 1:
        return _made(dir_fd, job_id)
    try:
        job_dir = os.open(job_id, OPEN, dir_fd=dir_fd)
    except (FileNotFoundError, NotADirectoryError):
        # Somebody took it away, and the earlier attempts with it.
        job_dir = _made(dir_fd, job_id)
    try:
        return _made(job_dir, _name(attempt))
    finally:
        os.close(job_dir)


def remove(dir_fd: int, job_id: str, attempt: int) -> None:
    """Remove the directory of the newest attempt; of the first the job's own. None is well."""
    if attempt == 1:
        if is_there(dir_fd, job_id):
            remove_tree(dir_fd, job_id)
        return
    job_dir = opened(dir_fd, job_id, 1)
    try:
        if is_there(job_dir, _name(attempt)):
            remove_tree(job_dir, _name(attempt))
    finally:
        os.close(job_dir)


def is_there(dir_fd: int, name: str) -> bool:
    """Whether anything has that name."""
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _made(dir_fd: int, name: str) -> int:
    try:
        os.mkdir(name, 0o700, dir_fd=dir_fd)
    except FileExistsError:
        remove_tree(dir_fd, name)
        os.mkdir(name, 0o700, dir_fd=dir_fd)
    return os.open(name, OPEN, dir_fd=dir_fd)


def _name(attempt: int) -> str:
    name = f"attempt-{attempt}"
    if attempt <= 1 or _NAME.fullmatch(name) is None:
        raise ValueError(f"not the number of an attempt: {attempt}")
    return name
