"""Ended jobs that are written again: in the daemon's own store, each with an id of its own."""

from __future__ import annotations

import os
import stat
import uuid
from typing import TYPE_CHECKING

import pytest

from runner.jobdirs import JobDirectories
from runner.lifecycle import State
from runner.rows import NewJob
from runner.store import Store
from tests.bench.ended_jobs import DATABASE, JOBS, multiply, read_files

if TYPE_CHECKING:
    from pathlib import Path


def some_jobs(state: Path, *, ended: int, going: int) -> list[str]:
    """What a daemon leaves of them; the ids of those that have ended."""
    store, directories = Store.open(str(state / DATABASE)), JobDirectories(str(state))
    ids = [_one(store, directories) for _ in range(ended + going)]
    for job in ids[:ended]:
        store.mark_ended(job, 9, "stopped", b"result", is_ok=False, disk_bytes=7)
    directories.close()
    store.close()
    return ids[:ended]


def _one(store: Store, directories: JobDirectories) -> str:
    job = str(uuid.uuid4())
    spec = b"spec of " + job.encode()
    store.insert(
        NewJob(id=job, submitted_by_uid=5, uid=5, gid=5, name=None, spec=spec, submitted_ns=7)
    )
    directories.create(job, spec).close()
    return job


def test_each_is_to_the_store_a_job_that_has_ended(tmp_path: Path) -> None:
    first = some_jobs(tmp_path, ended=2, going=1)
    new = multiply(tmp_path, 9)
    assert len(new) == len(set(new)) == 7
    store = Store.open(str(tmp_path / DATABASE))
    try:
        jobs = [job for one in [*first, *new] if (job := store.get(one)) is not None]
        assert {(job.state, job.reason, job.result) for job in jobs} == {
            (State.ENDED, "stopped", b"result")
        }
        assert len({job.seq for job in jobs}) == 9
    finally:
        store.close()


def test_what_happened_to_it_is_told_as_of_the_first(tmp_path: Path) -> None:
    (first,) = some_jobs(tmp_path, ended=1, going=0)
    (copy,) = multiply(tmp_path, 2)
    store = Store.open(str(tmp_path / DATABASE))
    try:
        of_first, of_copy = (store.events_since(0, 100, job_id=job) for job in (first, copy))
        assert [event.kind for event in of_copy] == [event.kind for event in of_first]
        assert of_copy[0].seq > of_first[-1].seq
    finally:
        store.close()


def test_its_directory_has_the_same_files_with_its_own_id_in_them(tmp_path: Path) -> None:
    (first,) = some_jobs(tmp_path, ended=1, going=0)
    (copy,) = multiply(tmp_path, 2)
    one, other = (dict(_named(tmp_path / JOBS / job)) for job in (first, copy))
    assert one.keys() == other.keys()
    assert other["spec"] == one["spec"].replace(first.encode(), copy.encode())
    assert copy.encode() in other["spec"]
    assert stat.S_ISFIFO(os.stat(tmp_path / JOBS / copy / "control").st_mode)
    assert os.stat(tmp_path / JOBS / copy).st_mode == os.stat(tmp_path / JOBS / first).st_mode


def _named(directory: Path) -> list[tuple[str, bytes]]:
    return [(name, data) for name, _mode, data in read_files(directory)]


def test_without_one_there_is_nothing_to_write_again(tmp_path: Path) -> None:
    some_jobs(tmp_path, ended=0, going=1)
    with pytest.raises(RuntimeError, match="no ended job"):
        multiply(tmp_path, 5)
