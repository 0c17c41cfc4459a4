"""Opens the store, whatever the disk has made of it: a damaged one is made anew.

Theory of operation. The new database is made beside the damaged one, of every row that can
still be read (`runner.salvaged_copy`), and synced. Renamed to `.salvaged` it counts: from
then on, also after a power cut, the damaged files are moved aside and the new one takes
their place. Nothing is changed before, so a full disk, or a kill, costs nothing but another
start. Jobs that only their directories know of are `runner.taking_up`'s.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from runner import taking_up
from runner.files import remove_tree
from runner.migrations import migrate
from runner.salvaged_copy import SCRATCH, copy_readable
from runner.soundness import damage_of
from runner.store import Store
from runner.store_file import described, make_private

if TYPE_CHECKING:
    from isolation.cgroups.tree import CgroupTree
    from runner.jobdirs import JobDirectories
    from runner.problems import Problems
    from runner.salvaged_copy import Copied

_ASIDE: Final = ".damaged-"
# Made, and not whole yet.
_NEW: Final = ".new"
# Whole: it takes the damaged one's place.
_SALVAGED: Final = ".salvaged"
# A disk that goes on lying must not fill itself with copies.
_MOST_ASIDE: Final = 8


class Salvaged(NamedTuple):
    """What became of a damaged store, and where that lies."""

    why: str
    copied: Copied
    aside: str

    def __str__(self) -> str:
        """For people."""
        return (
            f"the store was damaged ({self.why}) and was made anew: {self.copied}. Queued jobs "
            f"that could not be read are lost. The damaged one is kept as {self.aside}"
        )


def open_store(
    path: str, directories: JobDirectories, tree: CgroupTree, problems: Problems
) -> Store:
    """The store, made whole where it has to be; what was found goes to `problems`.

    Raises StoreError for what is no damage: another program's file, a newer runnerd's, a
    full disk, a file that cannot be opened.
    """
    _forget_attempts(path)
    _finish(path)
    if (why := _damage(path)) is not None:
        problems.add(str(_make_anew(path, why)))
    for remark in taking_up.take_up(path, directories, tree):
        problems.add(remark.text, remark.job)
    return Store.open(path)


def _forget_attempts(path: str) -> None:
    """Remove what a start that was killed has left."""
    directory, name = os.path.split(path)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for found in os.listdir(fd):
            if found.startswith((f"{name}{_NEW}", f"{name}{SCRATCH}")):
                remove_tree(fd, found)
    finally:
        os.close(fd)


def _damage(path: str) -> str | None:
    if not _size(path) and _size(f"{path}-wal"):
        # SQLite would throw the log away.
        return "it is empty, and its write-ahead log is not"
    make_private(path)
    return damage_of(path)


def _size(path: str) -> int:
    with suppress(FileNotFoundError):
        return os.lstat(path).st_size
    return 0


def _make_anew(path: str, why: str) -> Salvaged:
    new = f"{path}{_NEW}"
    make_private(new)
    with described(new), closing(sqlite3.connect(new, isolation_level=None)) as target:
        # Nobody has it yet: it is synced as a whole.
        target.execute("PRAGMA synchronous = OFF")
        target.execute("PRAGMA journal_mode = MEMORY")
        migrate(target)
        copied = copy_readable(path, target)
    _sync(new)
    os.rename(new, f"{path}{_SALVAGED}")
    _sync(os.path.dirname(path))
    aside = _finish(path)
    return Salvaged(why, copied, aside or path)


# Taking the damaged one's place


def _finish(path: str) -> str | None:
    """Put a new database in the place of the damaged one. Where that went, if it did."""
    if not os.path.lexists(f"{path}{_SALVAGED}"):
        return None
    aside = _free_name(path)
    if not _size(f"{path}-wal"):
        # Reading made it.
        _forget(f"{path}-wal")
    moved = [_move(f"{path}{end}", f"{aside}{end}") for end in ("-wal", "")]
    # An index of the log, which SQLite makes again.
    _forget(f"{path}-shm")
    os.rename(f"{path}{_SALVAGED}", path)
    _sync(os.path.dirname(path))
    _keep_few(path)
    return aside if any(moved) else None


def _forget(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _move(old: str, new: str) -> bool:
    try:
        os.rename(old, new)
    except FileNotFoundError:
        return False
    return True


def _free_name(path: str) -> str:
    """By the time, so that they sort by their age."""
    now_us = time.time_ns() // 1000
    while True:
        seconds, rest = divmod(now_us, 1_000_000)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
        name = f"{path}{_ASIDE}{stamp}.{rest:06}Z"
        if not (os.path.lexists(name) or os.path.lexists(f"{name}-wal")):
            return name
        now_us += 1


def _keep_few(path: str) -> None:
    directory, name = os.path.split(path)
    prefix = f"{name}{_ASIDE}"
    found = sorted({n.removesuffix("-wal") for n in os.listdir(directory) if n.startswith(prefix)})
    for old in found[:-_MOST_ASIDE]:
        for end in ("", "-wal"):
            _forget(os.path.join(directory, f"{old}{end}"))


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
