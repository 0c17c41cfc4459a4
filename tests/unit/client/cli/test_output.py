"""Prose and tables about jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from client.cli import output
from client.text import width

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[..., Any]

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("result", "limits", "text"),
    [
        (
            {"reason": "oom", "oom_kills": 3, "memory_peak_bytes": 256 * MIB},
            {"memory_max_bytes": 256 * MIB},
            "was killed at its memory limit: 256 MiB allowed, peak 256 MiB, 3 processes killed",
        ),
        (
            {"reason": "oom", "oom_kills": 1, "memory_peak_bytes": None},
            {"memory_max_bytes": 256 * MIB},
            "was killed at its memory limit: 256 MiB allowed, 1 process killed",
        ),
        ({"reason": "timeout"}, {"timeout_seconds": 10}, "ended at its time limit of 10 s"),
        ({"reason": "timeout"}, {}, "ended at its time limit"),
        ({"reason": "cpu-time"}, {"cpu_time_seconds": 90.0},
         "ended at its CPU time limit of 1 min 30 s"),
        ({"reason": "cpu-time"}, {}, "ended at its CPU time limit"),
        ({"reason": "output-limit"}, {"output_max_bytes": MIB},
         "ended at its output limit of 1 MiB"),
        ({"reason": "output-limit"}, {}, "ended at its output limit"),
        ({"reason": "stopped", "stopped_by_uid": 1000}, {}, "was stopped"),
        ({"reason": "stopped", "stopped_by_uid": 0}, {}, "was stopped by root"),
        ({"reason": "stopped", "stopped_by_uid": 2**31 - 5}, {}, "was stopped by uid 2147483643"),
        ({"reason": "signal", "signal": 11}, {}, "was killed by signal 11 (SIGSEGV)"),
        ({"reason": "signal", "signal": 63}, {}, "was killed by signal 63"),
        (
            {"reason": "launch-error", "detail": "execve: No such file or directory"},
            {},
            "could not start: execve: No such file or directory",
        ),
        ({"reason": "lost", "detail": "its monitor died"}, {}, "was lost: its monitor died"),
        (
            {
                "reason": "log-error",
                "detail": "its output could not be stored: No space left on device; "
                          "7 bytes were dropped",
                "log_dropped_bytes": 7,
            },
            {},
            "ended: its output could not be stored: No space left on device; 7 bytes were dropped",
        ),
        ({"reason": "log-error"}, {}, "ended with a log error"),
        ({"reason": "eaten", "detail": "by\x1b a dog"}, {}, "ended (eaten): by\\x1b a dog"),
    ],
)  # fmt: skip
def test_what_ended_a_job_is_one_sentence(
    make_job: Job, result: dict[str, Any], limits: dict[str, Any], text: str
) -> None:
    job = make_job(result=result, limits=limits)
    assert output.last_words(job, 1000) == [f"job 3f2a81c0 {text}"]


def test_a_plain_exit_needs_no_words(make_job: Job) -> None:
    assert output.last_words(make_job(result={"exit_code": 2})) == []
    assert output.last_words(make_job()) == []


def test_refused_forks_are_said_also_after_a_plain_exit(make_job: Job) -> None:
    job = make_job(result={"pids_max_hits": 12}, limits={"pids_max": 64})
    assert output.last_words(job) == ["job 3f2a81c0: its limit of 64 processes refused 12 forks"]


def test_a_child_killed_for_memory_is_said_after_a_plain_exit(make_job: Job) -> None:
    job = make_job(result={"oom_kills": 1})
    assert output.last_words(job) == [
        "job 3f2a81c0: 256 MiB allowed, peak 256 MiB, 1 process killed"
    ]


def test_refused_system_calls_are_said_when_they_were_to_be_reported(make_job: Job) -> None:
    calls = [{"syscall": "mount", "count": 3}, {"syscall": "ptrace", "count": 1}]
    said = ["job 3f2a81c0: refused system calls: mount \u00d73, ptrace \u00d71"]
    assert output.last_words(make_job(result={"denied": calls})) == said
    assert output.last_words(make_job(result={"denied": []})) == []


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (70_000, ["68.4 KiB of its output was dropped for want of room on the disk"]),
        (1, ["1 B of its output was dropped for want of room on the disk"]),
        (0, []),
        (None, []),
    ],
)
def test_output_that_was_dropped_is_said_also_after_a_plain_exit(
    make_job: Job, count: int | None, said: list[str]
) -> None:
    job = make_job(result={"log_dropped_bytes": count})
    assert output.last_words(job) == [f"job 3f2a81c0: {line}" for line in said]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "running"),
        ({"state": "queued"}, "queued"),
        ({"result": {"exit_code": 7}}, "exit 7"),
        ({"result": {"reason": "signal", "signal": 9}}, "signal 9"),
        ({"result": {"reason": "oom"}}, "oom"),
    ],
)
def test_a_state_is_a_word_or_two(make_job: Job, changes: dict[str, Any], word: str) -> None:
    assert output.state_word(make_job(**changes), 0) == word


def test_the_time_is_what_it_waits_runs_or_took(make_job: Job) -> None:
    job = make_job()
    now = job["started_ns"] + 90 * output.SECOND_NS
    assert output.age(job, now) == "1m30s"
    assert output.age(job | {"started_ns": None}, now) == "1m31s"
    assert output.age(make_job(result={}), now) == "12s"
    assert output.age(make_job(result={"wall_ns": None}), now) == "12s"
    assert output.age(job, job["started_ns"] - 5) == "0s"


def test_a_table_fits_the_terminal(make_job: Job) -> None:
    jobs = [
        make_job(name="n" * 64, user="u" * 32, argv=["x" * 300]),
        make_job(name=None, argv=["\u6f22" * 100], state="starting"),
        make_job(argv=["a\x1b[2J"]),
    ]
    text = output.job_table(jobs, jobs[0]["started_ns"], 80)
    lines = text.splitlines()
    assert lines[0].split() == ["JOB", "NAME", "USER", "STATE", "TIME", "COMMAND"]
    assert all(width(line) <= 80 for line in lines)
    assert all(line.isprintable() for line in lines)
    assert lines[1].endswith("...")


def test_a_table_for_a_program_is_not_cut(make_job: Job) -> None:
    job = make_job(name="n" * 64, argv=["x" * 300])
    text = output.job_table([job], job["started_ns"], None)
    assert "n" * 64 in text
    assert "x" * 300 in text


def test_a_record_shows_command_limits_and_result(make_job: Job) -> None:
    limits = {
        "memory_max_bytes": 256 * MIB,
        "cpu_max_millicpus": 1500,
        "pids_max": 64,
        "timeout_seconds": 600.0,
        "io": [{"path": b"/s\xff", "read_bytes_per_second": 10 * MIB,
                "write_bytes_per_second": None, "devices": ["8:0"]}],
    }  # fmt: skip
    text = output.job_record(make_job(result={"exit_code": 3, "exit_status": 3}, limits=limits))
    for line in (
        "state      ended with exit code 3",
        "command    make -j2 'a b'",
        "user       alice (uid 1000, gid 1000)",
        "limit      memory 256 MiB",
        "           CPUs 1.5",
        "           processes 64",
        "           time 10 min",
        "           IO of /s\\xff (device 8:0): read 10 MiB/s",
        "result     exit code 3",
        "           exit status 3",
        "           time 12.345 s",
        "           CPU time 2.5 s",
        "           peak memory 256 MiB",
        "           output 12 B",
    ):
        assert line in text.splitlines()
    assert "PATH" not in text


@pytest.mark.parametrize(
    ("result", "state"),
    [
        ({"reason": "stopped", "stopped_by_uid": 0}, "stopped by root"),
        ({"reason": "timeout"}, "ended at its time limit"),
        ({"reason": "signal"}, "killed by signal 9 (SIGKILL)"),
        ({"reason": "lost", "detail": "gone"}, "lost: gone"),
        ({"reason": "launch-error", "detail": "no"}, "could not start: no"),
    ],
)
def test_a_record_says_how_it_ended_and_with_what_signal_and_status(
    make_job: Job, result: dict[str, Any], state: str
) -> None:
    ended = {"exit_code": None, "signal": 9, "exit_status": 137, **result}
    lines = output.job_record(make_job(result=ended)).splitlines()
    assert f"state      {state}" in lines
    at = lines.index("result     signal 9 (SIGKILL)")
    assert lines[at + 1] == "           exit status 137"


def test_a_running_record_shows_usage_and_whose_job_it_is(make_job: Job) -> None:
    usage = {"cpu_usec": 1_500_000, "memory_bytes": MIB, "memory_peak_bytes": None, "pids": 3}
    text = output.job_record(make_job(usage=usage, submitted_by_uid=0, limits={}, name=None))
    assert "state      running, monitor's pid 4242" in text
    assert "limit      none" in text
    assert "usage      CPU time 1.5 s\n           memory 1 MiB\n           processes 3\n" in text
    assert "submitted by uid 0" in text


def test_an_unfinished_job_is_in_its_state(make_job: Job) -> None:
    assert output.how_it_ended(cast("Any", make_job())) == "is running"
