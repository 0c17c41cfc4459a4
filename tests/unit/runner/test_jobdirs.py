"""Directories of jobs: what is made, what is found, and what is out of reach at once."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runner import records, stored
from runner.jobdirs import JobDirectories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JOB = "3f2a0000-0000-4000-8000-000000000001"
OTHER = "3f2a0000-0000-4000-8000-000000000002"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    return tmp_path / "state" / "jobs"


@pytest.fixture
def directories(jobs: Path) -> Iterator[JobDirectories]:
    before = set(os.listdir("/proc/self/fd"))
    made = JobDirectories(str(jobs.parent))
    yield made
    made.close()
    assert set(os.listdir("/proc/self/fd")) <= before


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_job_has_a_spec_a_fifo_and_an_empty_log_all_for_their_owner_alone(
    directories: JobDirectories, jobs: Path
) -> None:
    previous = os.umask(0)
    try:
        files = directories.create(JOB, b"what to run")
    finally:
        os.umask(previous)
    home = jobs / JOB
    assert sorted(os.listdir(home)) == ["control", "exit.tmp", "log", "spec"]
    assert (home / "exit.tmp").stat().st_size == records.EXIT_BYTES
    assert (home / "spec").read_bytes() == b"what to run"
    assert stat.S_ISFIFO((home / "control").stat().st_mode)
    assert os.path.samestat(os.fstat(files.job_dir), home.stat())
    assert os.path.samestat(os.fstat(files.log_dir), (home / "log").stat())
    assert os.path.samestat(os.fstat(files.control), (home / "control").stat())
    assert [mode(home), mode(home / "log"), mode(home / "spec"), mode(home / "control")] == [
        0o700, 0o700, 0o600, 0o600,
    ]  # fmt: skip
    assert not any(os.get_inheritable(fd) for fd in files)
    files.close()


def test_a_second_launch_begins_afresh(directories: JobDirectories, jobs: Path) -> None:
    directories.create(JOB, b"old").close()
    (jobs / JOB / "log" / "00000000000000000000.log").write_bytes(b"old output")
    (jobs / JOB / "exit").write_bytes(b"old record")
    directories.create(JOB, b"new").close()
    assert not directories.has_log(JOB)
    assert directories.read_exit(JOB) is None
    assert (jobs / JOB / "spec").read_bytes() == b"new"


def test_a_directory_that_is_a_link_is_replaced_and_not_followed(
    directories: JobDirectories, jobs: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (jobs / JOB).symlink_to(outside)
    directories.create(JOB, b"spec").close()
    assert not (jobs / JOB).is_symlink()
    assert os.listdir(outside) == ["precious"]


FULL_DISK = """
import os, resource, signal, sys
from runner.jobdirs import JobDirectories
made = JobDirectories(sys.argv[1])
before = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
for _ in range(3):
    try:
        made.create(sys.argv[2], b"spec")
    except OSError as error:
        print(error.strerror)
print(len(os.listdir("/proc/self/fd")) - before)
"""


def test_a_launch_that_finds_the_disk_full_keeps_no_descriptor(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the disk: write(2) fails with EFBIG where it would with ENOSPC."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), JOB],
        capture_output=True, check=True, cwd=ROOT, text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout.split("\n")[:-1] == ["File too large"] * 3 + ["0"]


def test_a_stop_reaches_the_fifo_whole_though_nobody_reads_yet(
    directories: JobDirectories,
) -> None:
    files = directories.create(JOB, b"spec")
    directories.send_stop(JOB, 1000, 2.5)
    directories.send_stop(JOB, 2**32 - 2, 3600)
    size = records.CONTROL_RECORD.size
    read = [records.CONTROL_RECORD.unpack(os.read(files.control, size)) for _ in range(2)]
    assert read == [(1, 1000, 2500), (1, 2**32 - 2, 3_600_000)]
    with pytest.raises(BlockingIOError):
        os.read(files.control, size)
    files.close()


def test_a_stop_for_a_job_without_a_directory_is_an_error(directories: JobDirectories) -> None:
    with pytest.raises(FileNotFoundError):
        directories.send_stop(JOB, 0, 0)


def test_a_stop_never_waits_for_a_monitor_that_is_gone(directories: JobDirectories) -> None:
    directories.create(JOB, b"spec").close()
    directories.send_stop(JOB, 0, 0)


def test_a_stop_is_not_written_through_a_link(
    directories: JobDirectories, jobs: Path, tmp_path: Path
) -> None:
    directories.create(JOB, b"spec").close()
    (tmp_path / "outside").touch()
    (jobs / JOB / "control").unlink()
    (jobs / JOB / "control").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic links"):
        directories.send_stop(JOB, 0, 0)
    assert (tmp_path / "outside").read_bytes() == b""


def test_limits_are_replaced_as_a_whole_and_stay_the_owners(
    directories: JobDirectories, jobs: Path
) -> None:
    files = directories.create(JOB, b"spec")
    assert not directories.has_limits(JOB)
    for limits in ({"pids_max": 5}, {"timeout_seconds": 1.5}):
        directories.write_limits(JOB, limits)
        read = records.read(files.job_dir, records.LIMITS, records.MAX_LIMITS_BYTES)
        assert read == {"version": 1, **limits}
    assert directories.has_limits(JOB)
    assert mode(jobs / JOB / "limits") == 0o600
    assert not (jobs / JOB / "limits.tmp").exists()
    files.close()


def test_limits_of_a_job_without_a_directory_are_an_error(directories: JobDirectories) -> None:
    assert not directories.has_limits(JOB)
    for write in (directories.write_limits, directories.write_intent):
        with pytest.raises(FileNotFoundError):
            write(JOB, {})
    directories.forget_intent(JOB)


def test_an_intent_is_there_until_it_is_forgotten(directories: JobDirectories, jobs: Path) -> None:
    assert directories.read_intent(JOB) is None
    directories.create(JOB, b"spec").close()
    assert directories.read_intent(JOB) is None
    intent = {"limits": {"pids_max": 5}, "devices": {b"/": ["8:0"]}, "uid": 7}
    directories.write_intent(JOB, intent)
    assert directories.read_intent(JOB) == {"version": 1, **intent}
    (jobs / JOB / "update").write_bytes(records.pack(intent)[:-3])
    with pytest.raises(records.RecordError):
        directories.read_intent(JOB)
    (jobs / JOB / "update").write_bytes(records.pack({**intent, "uid": -1}))
    with pytest.raises(records.RecordError):
        directories.read_intent(JOB)
    directories.forget_intent(JOB)
    directories.forget_intent(JOB)
    assert directories.read_intent(JOB) is None


def test_a_monitor_that_reads_nothing_is_an_error_for_all_but_a_stop(
    directories: JobDirectories,
) -> None:
    files = directories.create(JOB, b"spec")
    with pytest.raises(BlockingIOError):
        while True:
            directories.send(JOB, records.CONTROL_PAUSE)
    directories.send_stop(JOB, 0, 0)
    files.close()


def test_output_is_counted_to_the_end_of_the_newest_segment(
    directories: JobDirectories, jobs: Path
) -> None:
    assert directories.output_bytes(JOB) == 0
    directories.create(JOB, b"spec").close()
    assert directories.output_bytes(JOB) == 0
    for start, size in ((0, 100), (100, 50)):
        (jobs / JOB / "log" / f"{start:020}.idx").touch()
        (jobs / JOB / "log" / f"{start:020}.log").write_bytes(bytes(size))
    assert directories.output_bytes(JOB) == 150


def test_a_log_has_begun_when_its_directory_holds_anything(
    directories: JobDirectories, jobs: Path
) -> None:
    assert not directories.has_log(JOB)
    directories.create(JOB, b"spec").close()
    assert not directories.has_log(JOB)
    (jobs / JOB / "log" / "00000000000000000000.idx").touch()
    assert directories.has_log(JOB)
    assert directories.log_path(JOB) == str(jobs / JOB / "log")
    with pytest.raises(ValueError, match="not a job's id"):
        directories.log_path("../x")


def exit_record(job_id: str) -> dict[str, object]:
    """As the monitor writes it."""
    return {
        **dict.fromkeys(stored.RESULT_FIELDS),
        "job": job_id, "reason": "exit", "exit_status": 0, "started_ns": 1, "ended_ns": 2,
    }  # fmt: skip


def test_an_exit_record_is_read_and_a_missing_one_is_none(
    directories: JobDirectories, jobs: Path
) -> None:
    assert directories.read_exit(JOB) is None
    directories.create(JOB, b"spec").close()
    assert directories.read_exit(JOB) is None
    record = exit_record(JOB)
    (jobs / JOB / "exit.tmp").write_bytes(records.pack(record))
    assert directories.read_exit(JOB) is None
    (jobs / JOB / "exit.tmp").rename(jobs / JOB / "exit")
    assert directories.read_exit(JOB) == {"version": 1, **record}


def test_the_record_of_another_job_is_none_of_this_one(
    directories: JobDirectories, jobs: Path
) -> None:
    directories.create(JOB, b"spec").close()
    (jobs / JOB / "exit").write_bytes(records.pack(exit_record(OTHER)))
    with pytest.raises(records.RecordError, match="another job"):
        directories.read_exit(JOB)


def test_a_record_that_is_garbled_or_too_long_is_an_error(
    directories: JobDirectories, jobs: Path
) -> None:
    directories.create(JOB, b"spec").close()
    (jobs / JOB / "exit").write_bytes(b"\0" * 10)
    with pytest.raises(records.RecordError):
        directories.read_exit(JOB)
    (jobs / JOB / "exit").write_bytes(b"\0" * (records.MAX_EXIT_BYTES + 1))
    with pytest.raises(OSError, match="longer than"):
        directories.read_exit(JOB)


def test_a_doomed_job_is_out_of_reach_at_once_and_found_again_after_a_crash(
    directories: JobDirectories, jobs: Path
) -> None:
    directories.create(JOB, b"spec").close()
    directories.create(OTHER, b"spec").close()
    directories.doom(JOB)
    assert not (jobs / JOB).exists()
    assert (jobs / OTHER).exists()
    assert directories.doomed() == [JOB]
    assert not directories.has_log(JOB)
    again = JobDirectories(str(jobs.parent))
    assert again.doomed() == [JOB]
    again.remove_doomed(JOB)
    again.close()
    assert os.listdir(jobs) == [OTHER]


def test_dooming_and_removing_again_is_harmless(directories: JobDirectories) -> None:
    directories.doom(JOB)
    directories.remove_doomed(JOB)
    assert directories.doomed() == []


def test_job_directories_are_closed_to_others(directories: JobDirectories, jobs: Path) -> None:
    assert directories.path == str(jobs)
    assert mode(jobs) == 0o700


# What a disk may make of it

REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "a directory": lambda path: path.mkdir(),
    "a fifo": os.mkfifo,
    "a link": lambda path: path.symlink_to("/etc/hostname"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a file": lambda path: path.write_bytes(b"garbled"),
}


def replace(path: Path, kind: str) -> None:
    if path.is_dir():
        subprocess.run(["rm", "-r", path], check=True)
    else:
        path.unlink(missing_ok=True)
    REPLACEMENTS[kind](path)


@pytest.mark.parametrize("kind", ["a directory", "a link", "a link to itself", "a file"])
def test_a_control_that_is_no_fifo_is_told_nothing(
    directories: JobDirectories, jobs: Path, kind: str
) -> None:
    directories.create(JOB, b"spec").close()
    directories.check_control(JOB)
    replace(jobs / JOB / "control", kind)
    with pytest.raises(OSError, match=r"."):
        directories.send(JOB, records.CONTROL_PAUSE)
    with pytest.raises(OSError, match=r"."):
        directories.check_control(JOB)
    if kind == "a file":
        assert (jobs / JOB / "control").read_bytes() == b"garbled"


@pytest.mark.parametrize("kind", REPLACEMENTS)
@pytest.mark.parametrize("name", ["", "spec", "exit", "limits", "log", "update"])
def test_whatever_lies_in_the_place_of_a_file_is_an_error_and_no_hang(
    directories: JobDirectories, jobs: Path, name: str, kind: str
) -> None:
    directories.create(JOB, b"spec").close()
    directories.write_limits(JOB, {})
    replace(jobs / JOB / name if name else jobs / JOB, kind)
    assert directories.ids() == [JOB]
    assert directories.read_base(JOB) is None
    for read in (directories.read_exit, directories.read_limits, directories.read_intent,
                 directories.has_log, directories.output_bytes, directories.has_exit):  # fmt: skip
        with suppress(OSError, records.RecordError):
            assert not read(JOB) or read in (directories.has_exit, directories.read_limits)
    with pytest.raises((OSError, records.RecordError)):
        directories.read_spec(JOB)
    directories.doom(JOB)
    directories.remove_doomed(JOB)
    assert os.listdir(jobs) == []


@pytest.mark.parametrize("kind", ["a directory", "a fifo", "a link"])
def test_an_update_is_never_written_to_something_else(
    directories: JobDirectories, jobs: Path, kind: str
) -> None:
    directories.create(JOB, b"spec").close()
    for name in ("update", "limits.tmp"):
        replace(jobs / JOB / name, kind)
    with pytest.raises(OSError, match=r"."):
        directories.write_intent(JOB, {"limits": {}})
    with pytest.raises(OSError, match=r"."):
        directories.write_limits(JOB, {})


def test_a_fifo_that_somebody_reads_gets_no_record(directories: JobDirectories, jobs: Path) -> None:
    directories.create(JOB, b"spec").close()
    replace(jobs / JOB / "update", "a fifo")
    reader = os.open(jobs / JOB / "update", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(OSError, match="not a regular file"):
            directories.write_intent(JOB, {"limits": {}})
        assert os.read(reader, 10) == b""
    finally:
        os.close(reader)


@pytest.mark.parametrize("name", ["../x", "", "removed-" + JOB, JOB + "/log", JOB.upper()])
def test_what_is_no_id_names_no_directory(directories: JobDirectories, name: str) -> None:
    for act in (directories.doom, directories.read_exit, directories.has_log, directories.read_base,
                lambda name: directories.create(name, b"")):  # fmt: skip
        with pytest.raises(ValueError, match="not a job's id"):
            act(name)


def test_a_removal_that_was_begun_before_does_not_stop_another(
    directories: JobDirectories, jobs: Path
) -> None:
    for _ in range(2):
        directories.create(JOB, b"spec").close()
        directories.doom(JOB)
        assert os.listdir(jobs) == [f"removed-{JOB}"]


def test_changed_limits_are_read_back(directories: JobDirectories, jobs: Path) -> None:
    directories.create(JOB, records.pack({"argv": []})).close()
    assert directories.read_limits(JOB) is None
    directories.write_limits(JOB, {"timeout_seconds": 5})
    assert directories.read_limits(JOB) == {"timeout_seconds": 5}
    (jobs / JOB / "limits").write_bytes(b"\x80")
    with pytest.raises(records.RecordError):
        directories.read_limits(JOB)


def test_whether_a_directory_holds_more_than_usual_is_known(directories: JobDirectories) -> None:
    def made(attempt: int = 1) -> None:
        directories.create(JOB, b"spec", attempt).close()

    made()
    assert directories.untouched(JOB) == 4
    assert directories.untouched(JOB) is None
    made()
    directories.send_stop(JOB, 0, 1.0)
    assert directories.untouched(JOB) is None
    made()
    directories.write_limits(JOB, {})
    assert directories.untouched(JOB) is None
    made()
    directories.write_intent(JOB, {})
    assert directories.untouched(JOB) is None
    made()
    made(attempt=2)
    assert directories.untouched(JOB) is None


def test_the_record_of_a_first_attempt_is_read_through_no_link(
    directories: JobDirectories, jobs: Path
) -> None:
    other = JOB.replace("3", "4")
    directories.create(other, b"spec").close()
    (jobs / other / records.EXIT).write_bytes(b"exit")
    (jobs / JOB).symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        directories.read_exit_bytes(JOB, 1)
    assert directories.read_exit_bytes(other, 1) == b"exit"
    (jobs / other / records.EXIT).write_bytes(bytes(records.MAX_EXIT_BYTES + 1))
    with pytest.raises(OSError, match="longer than"):
        directories.read_exit_bytes(other, 1)
