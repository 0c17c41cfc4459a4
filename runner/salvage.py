"""Opens the store, whatever the disk has made of it: a damaged one is made anew.

Theory of operation. The new database is made beside the damaged one, of every row that can
still be read (`runner.salvaged_copy`), and synced. Renamed to `.salvaged-<time>` it counts: from
then on, also after a power cut, the damaged files are moved aside and the new one takes
their place. Nothing is changed before, so a full disk, or a kill, costs nothing but another
start. A write-ahead log of which SQLite would read only a part is copied aside first,
because that is no damage to SQLite, which writes over it. Jobs that only their directories
know of are `runner.taking_up`'s.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from runner import taking_up
from runner.files import remove_tree
from runner.migrations import migrate
from runner.salvaged_copy import copy_readable
from runner.salvaged_source import SCRATCH
from runner.soundness import damage_of
from runner.store import Store
from runner.store_file import RESTART, described, make_private
from runner.torn_log import damage_of_log

if TYPE_CHECKING:
    from isolation.cgroups.tree import CgroupTree
    from runner.jobdirs import JobDirectories
    from runner.problems import Problems
    from runner.salvaged_copy import Copied

_ASIDE: Final = ".damaged-"
# Made, and not whole yet.
_NEW: Final = ".new"
# Whole: it takes the damaged one's place.
_SALVAGED: Final = ".salvaged-"
# What a part of the log costs.
_NEWEST: Final = (
    "the newest changes may be lost, above all jobs that were queued; removed jobs may be back"
)
# A disk that goes on lying must not fill itself with copies.
_MOST_ASIDE: Final = 8


class Salvaged(NamedTuple):
    """What became of a damaged store, and where that lies."""

    why: str
    copied: Copied
    aside: str
    log: str | None

    def __str__(self) -> str:
        """For people."""
        log = (
            "" if self.log is None else f" Its write-ahead log is damaged ({self.log}): {_NEWEST}."
        )
        return (
            f"the store was damaged ({self.why}) and was made anew: {self.copied}. Queued jobs "
            f"that could not be read are lost.{log} The damaged one is kept as {self.aside}"
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
    log = _damage_of_log(path)
    if (why := _damage(path)) is not None:
        # Which is what was done.
        why = why.removesuffix(f". {RESTART}")
        problems.add(str(_make_anew(path, why, log)))
    elif log is not None:
        problems.add(_keep_log(path, log))
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


def _damage_of_log(path: str) -> str | None:
    try:
        return damage_of_log(f"{path}-wal")
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def _keep_log(path: str, why: str) -> str:
    """Copy the log aside, have SQLite take what it can, and begin a new one. What to say."""
    kept = f"{_free_name(path)}-wal"
    try:
        shutil.copyfile(f"{path}-wal", kept, follow_symlinks=False)
        os.chmod(kept, 0o600)
        _sync(kept)
        _sync(os.path.dirname(path))
    except OSError as error:
        _forget(kept)
        kept = f"lost: it could not be copied ({error.strerror})"
    else:
        kept = f"kept as {kept}"
    _begin_log(path)
    _keep_few(path)
    return f"the store's write-ahead log was damaged ({why}): {_NEWEST}. The damaged one is {kept}"


def _begin_log(path: str) -> None:
    """Otherwise SQLite goes on within the damaged one, and the next start finds it again."""
    with described(path), closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _make_anew(path: str, why: str, log: str | None) -> Salvaged:
    new = f"{path}{_NEW}"
    make_private(new)
    with described(new), closing(sqlite3.connect(new, isolation_level=None)) as target:
        # Nobody has it yet: it is synced as a whole.
        target.execute("PRAGMA synchronous = OFF")
        target.execute("PRAGMA journal_mode = MEMORY")
        migrate(target)
        copied = copy_readable(path, target)
    _sync(new)
    # Chosen once, so that files that are moved after a kill get the name of those before it.
    stamp = _free_name(path).removeprefix(f"{path}{_ASIDE}")
    os.rename(new, f"{path}{_SALVAGED}{stamp}")
    _sync(os.path.dirname(path))
    aside = _finish(path)
    return Salvaged(why, copied, aside or path, log)


# Taking the damaged one's place


def _finish(path: str) -> str | None:
    """Put a new database in the place of the damaged one. Where that went, if it did."""
    salvaged = _salvaged(path)
    if salvaged is None:
        return None
    aside = f"{path}{_ASIDE}{salvaged.removeprefix(f'{path}{_SALVAGED}')}"
    if not _size(f"{path}-wal"):
        # Reading made it.
        _forget(f"{path}-wal")
    moved = [_move(f"{path}{end}", f"{aside}{end}") for end in ("-wal", "")]
    # An index of the log, which SQLite makes again.
    _forget(f"{path}-shm")
    os.rename(salvaged, path)
    _sync(os.path.dirname(path))
    _keep_few(path)
    return aside if any(moved) else None


def _salvaged(path: str) -> str | None:
    """The new database that waits to take its place, if one does."""
    directory, name = os.path.split(path)
    prefix = f"{name}{_SALVAGED}"
    found = sorted(other for other in os.listdir(directory) if other.startswith(prefix))
    return os.path.join(directory, found[-1]) if found else None


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
