"""`runctl logs`: which part of a job's output is asked for, and how it is shown."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.unit.client.conftest import JOB_ID, OTHER_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]
    Runctl = Callable[..., tuple[int, str, str]]

COMMAND = [sys.executable, "-m", "client.cli"]
SECOND = 10**9
NOON = 1_795_348_800 * SECOND
GAP = {"gap_bytes": 2048, "offset": 2048, "why": "removed"}


def output(offset: int, *runs: tuple[int, bytes], at: int = NOON) -> dict[str, Any]:
    """An event; the runs are a second apart."""
    return {
        "offset": offset,
        "runs": [
            [stream, len(data), at + index * SECOND] for index, (stream, data) in enumerate(runs)
        ],
        "data": b"".join(data for _, data in runs),
    }


class Served(NamedTuple):
    """A job and the events of its log."""

    status: dict[str, Any]
    events: list[dict[str, Any]]

    def end(self) -> int:
        last: dict[str, Any] = self.events[-1] if self.events else {"offset": 0}
        return int(last["offset"]) + len(last.get("data", b""))


def serve(daemon: FakeDaemon, **jobs: Served) -> None:
    """Answer `status` and `logs` for these jobs, by name and id; refuse others."""
    known = {**jobs, **{served.status["job"]: served for served in jobs.values()}}

    def status(session: Session, request: dict[str, Any]) -> None:
        if (served := known.get(request["args"]["job"])) is None:
            session.refuse(request, "no-such-job", given=request["args"]["job"])
        else:
            session.ok(request, served.status)

    def logs(session: Session, request: dict[str, Any]) -> None:
        if (served := known.get(request["args"]["job"])) is None:
            session.refuse(request, "no-such-job", given=request["args"]["job"])
            return
        for seq, event in enumerate(served.events, 1):
            session.event(request, seq, event)
        session.ok(request, {"cursor": served.end(), "status": served.status})

    daemon.handlers |= {"status": status, "logs": logs}


@pytest.fixture
def two(daemon: FakeDaemon, make_job: Job) -> None:
    """A job "a" and a job "longer", whose lines alternate."""
    serve(
        daemon,
        a=Served(
            make_job(name="a", result={"exit_status": 0}),
            [
                output(0, (1, b"a1\n"), at=NOON + 1 * SECOND),
                output(3, (1, b"a2\na"), at=NOON + 3 * SECOND),
                output(7, (1, b"3\n"), at=NOON + 5 * SECOND),
            ],
        ),
        longer=Served(
            make_job(job=OTHER_ID, name="longer", result={"exit_status": 7}),
            [
                output(0, (1, b"b1\n"), at=NOON + 2 * SECOND),
                output(3, (2, b"b2\n"), at=NOON + 4 * SECOND),
                output(6, (1, b"b3"), at=NOON + 6 * SECOND),
            ],
        ),
    )


# What is asked for


def test_without_options_everything_is_asked_for(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, build=Served(make_job(), [output(0, (1, b"out\n"), (2, b"err\n"))]))
    assert runctl("logs", "build") == (0, "out\n", "err\n")
    assert [request["op"] for request in daemon.seen] == ["hello", "logs"]
    assert daemon.args("logs") == [{"job": "build", "cursor": 0, "follow": False, "credit": 16}]


def test_the_last_lines_begin_where_the_daemon_says_for_each_stream(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    events = [output(10, (1, b"old\n"), (2, b"old e"), (1, b"new\n"), (2, b"rr\nerr\n"))]
    serve(daemon, build=Served(make_job(), events))
    daemon.answer("locate", {"cursor": 10, "stdout": 19, "stderr": 26, "end": 30})
    assert runctl("logs", "-n", "2", "build") == (0, "new\n", "err\n")
    assert daemon.args("locate") == [
        {
            "job": JOB_ID, "lines": 2, "since_ns": None, "until_ns": None, "streams": [1, 2],
            "attempt": None,
        }
    ]  # fmt: skip
    # By its id: meanwhile the name may have come to mean another job.
    assert daemon.args("logs")[0]["job"] == JOB_ID
    assert daemon.args("logs")[0]["cursor"] == 10


def test_times_streams_and_the_attempt_are_passed_on(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, build=Served(make_job(), [output(0, (1, b"out\n"), (2, b"err\n"))]))
    daemon.answer("locate", {"cursor": 0, "stdout": 0, "stderr": 0, "end": 8})
    options = ["--since", "@1000.5", "--until", "@2000", "--stderr", "--attempt", "1", "-n", "0"]
    assert runctl("logs", *options, "build") == (0, "", "err\n")
    asked = daemon.args("locate")[0]
    assert asked["since_ns"] == 1000 * SECOND + SECOND // 2
    assert asked["until_ns"] == daemon.args("logs")[0]["until_ns"] == 2000 * SECOND
    assert asked["streams"] == [2]
    assert asked["attempt"] == daemon.args("logs")[0]["attempt"] == 1
    assert asked["lines"] == 0


@pytest.mark.parametrize(
    ("options", "out", "err"),
    [
        (["--stdout"], "out\n", ""),
        (["--stderr"], "", "err\n"),
        (["--stdout", "--stderr"], "out\n", "err\n"),
    ],
)
def test_either_stream_can_be_left_out(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, options: list[str], out: str, err: str
) -> None:
    serve(daemon, build=Served(make_job(), [output(0, (1, b"out\n"), (2, b"err\n"))]))
    assert runctl("logs", *options, "build") == (0, out, err)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--raw", "-t"], "--raw and --timestamps exclude each other"),
        (["--raw", "--grep", ""], "--raw and --grep exclude"),
        (["--raw", "--json"], "--raw and --json exclude"),
        (["--raw", "another"], "--raw and several jobs exclude"),
        (["--json", "-t"], "--json and --timestamps exclude"),
        (["--json", "--grep", "x"], "--json and --grep exclude"),
        (["--cursor", "0", "-n", "0"], "--cursor and --lines exclude"),
        (["--cursor", "5", "--since", "1h"], "--cursor and --since exclude"),
        (["--cursor", "5", "another"], "--cursor and several jobs exclude"),
        (["--since", "1h", "--until", "2h"], "--since is later than --until"),
        (["--since", "soon"], "'soon' given; a time is allowed, such as 14:00"),
        (["--grep", "("], "'(' given (missing )"),
        (["--grep", "a{99999999999}"], "given (the repetition number is too large)"),
        (["-n", "-1"], "-1 is not in the range"),
        (["--attempt", "0"], "0 is not in the range"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(
    runctl: Runctl, daemon: FakeDaemon, options: list[str], said: str
) -> None:
    status, out, err = runctl("logs", *options, "build")
    assert (status, out) == (125, "")
    assert said in err
    assert err.startswith("Usage: runctl logs")
    assert not daemon.seen


def test_a_refusal_has_the_readers_words(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    serve(daemon, build=Served(make_job(), []))
    for op in ("logs", "locate"):
        daemon.refuse(op, "invalid-argument", field="attempt", given="2", allowed="1")
    said = "runctl: --attempt: 2 given; allowed: 1\n"
    assert runctl("logs", "--attempt", "2", "build") == (125, "", said)
    assert runctl("logs", "--attempt", "2", "-n", "1", "build") == (125, "", said)
    said = said.replace("--attempt", "build: --attempt")
    status, _, err = runctl("logs", "--attempt", "2", "build", "nope")
    assert (status, err.splitlines()[1:]) == (125, [said.strip()])


# Lines


def test_timestamps_are_those_of_the_first_bytes(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    events = [output(0, (1, b"on"), (2, b"err\n"), (1, b"e\ntwo\n"), (1, b"rest"))]
    serve(daemon, build=Served(make_job(), events))
    status, out, err = runctl("logs", "-t", "build")
    monkeypatch.undo()
    time.tzset()
    assert status == 0
    assert out.splitlines() == [
        "2026-11-22T12:00:00.000+00:00 one",
        "2026-11-22T12:00:02.000+00:00 two",
        "2026-11-22T12:00:03.000+00:00 rest",
    ]
    assert err == "2026-11-22T12:00:01.000+00:00 err\n"


def test_grep_shows_the_lines_of_each_stream_that_match(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    events = [output(0, (1, b"fo"), (2, b"foo here\n"), (1, b"o 1\nbar\nfoo 2\r\n\xff foo"))]
    serve(daemon, build=Served(make_job(), events))
    status, out, err = runctl("logs", "--grep", "^fo{2} ", "build")
    assert (status, out, err) == (0, "foo 1\nfoo 2\r\n", "foo here\n")
    _, out, _ = runctl("logs", "--grep", r"(?i)O$|\xff", "build")
    assert out == "\\xff foo\n"


def test_an_empty_pattern_matches_every_line(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(daemon, build=Served(make_job(), [output(0, (1, b"a\n\nb"))]))
    assert runctl("logs", "--grep", "", "build") == (0, "a\n\nb\n", "")


def test_a_gap_ends_the_line_before_it(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    gap = {"gap_bytes": 96, "offset": 100, "why": "dropped"}
    events = [output(0, (1, b"a\nbe")), gap, output(100, (1, b"end\nz\n"))]
    serve(daemon, build=Served(make_job(), events))
    assert runctl("logs", "--grep", "", "build") == (
        0, "a\nbe\nend\nz\n",
        "runctl: 96 B of output was dropped because the disk was full\n",
    )  # fmt: skip


# Several jobs


@pytest.mark.usefixtures("two")
def test_several_jobs_are_merged_by_time_each_line_after_its_jobs_name(runctl: Runctl) -> None:
    status, out, err = runctl("logs", "a", "longer")
    assert status == 0
    assert out.splitlines() == [
        "a      | a1", "longer | b1", "a      | a2", "a      | a3", "longer | b3",
    ]  # fmt: skip
    assert err == "longer | b2\n"


@pytest.mark.usefixtures("two")
def test_several_jobs_that_are_followed_are_shown_whole(runctl: Runctl) -> None:
    status, out, err = runctl("logs", "-f", "--show-cursor", "--exit-code", "a", "longer")
    assert status == 7
    lines = out.splitlines()
    assert [line for line in lines if line.startswith("a ")] == [
        "a      | a1", "a      | a2", "a      | a3",
    ]  # fmt: skip
    assert sorted(set(lines)) == sorted(lines)
    assert len(lines) == 5
    assert err == "longer | b2\n-- cursor: 9 (a)\n-- cursor: 8 (longer)\n"


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("follow", [[], ["-f"]])
def test_a_job_that_is_refused_keeps_no_other_from_being_shown(
    runctl: Runctl, follow: list[str]
) -> None:
    status, out, err = runctl("logs", *follow, "nope", "a")
    assert (status, out) == (125, "a | a1\na | a2\na | a3\n")
    assert err == "runctl: nope: no job of yours matches; `runctl ps --all` lists them\n"


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("follow", [[], ["-f"]])
def test_a_job_that_is_removed_meanwhile_keeps_no_other_from_being_shown(
    runctl: Runctl, daemon: FakeDaemon, follow: list[str]
) -> None:
    serve_logs = daemon.handlers["logs"]

    def logs(session: Session, request: dict[str, Any]) -> None:
        if request["args"]["job"] == JOB_ID:
            session.event(request, 1, output(0, (1, b"a1\nbeg")))
            session.refuse(request, "no-such-job", detail="it was removed")
        else:
            serve_logs(session, request)

    daemon.handlers["logs"] = logs
    status, out, err = runctl("logs", *follow, "--show-cursor", "a", "longer")
    assert status == 125
    assert sorted(out.splitlines()) == [
        "a      | a1", "a      | beg", "longer | b1", "longer | b3",
    ]  # fmt: skip
    assert "runctl: a: it was removed\n" in err
    assert "-- cursor: 8 (longer)\n" in err


@pytest.mark.usefixtures("two")
def test_a_job_that_is_named_twice_is_shown_once(runctl: Runctl) -> None:
    assert runctl("logs", "a", JOB_ID) == (0, "a | a1\na | a2\na | a3\n", "")


def test_jobs_without_a_name_of_their_own_are_shown_by_their_ids(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    third = "88aa81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
    serve(
        daemon,
        x=Served(make_job(name="same"), [output(0, (1, b"1\n"), at=1)]),
        y=Served(make_job(name="same", job=OTHER_ID), [output(0, (1, b"2\n"), at=2)]),
        z=Served(make_job(name=None, job=third), [GAP, output(2048, (1, b"3\n"), at=3)]),
    )
    assert runctl("logs", "x", "y", "z") == (
        0, "3f2a81c0 | 1\n77aa81c0 | 2\n88aa81c0 | 3\n",
        "runctl: 88aa81c0: 2 KiB of older output was removed by retention\n",
    )  # fmt: skip


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("follow", [[], ["-f"]])
def test_json_of_several_jobs_names_the_job_in_each_object(
    runctl: Runctl, follow: list[str]
) -> None:
    status, out, err = runctl("logs", *follow, "--json", "--stdout", "a", "longer")
    assert (status, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    texts = {
        job: [line["text"] for line in lines if line["job"] == job and "text" in line]
        for job in (JOB_ID, OTHER_ID)
    }
    assert texts == {JOB_ID: ["a1\n", "a2\na", "3\n"], OTHER_ID: ["b1\n", "b3"]}
    ends = {line["job"]: line["cursor"] for line in lines if "cursor" in line}
    assert ends == {JOB_ID: 9, OTHER_ID: 8}


def test_following_several_says_once_that_the_daemon_is_away_and_goes_on(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    ended = {job: make_job(job=job, name=job[:4], result={}) for job in (JOB_ID, OTHER_ID)}
    texts = {JOB_ID: b"one\ntwo\n", OTHER_ID: b"ONE\nTWO\n"}
    both = threading.Barrier(2)

    def logs(session: Session, request: dict[str, Any]) -> None:
        job, position = request["args"]["job"], request["args"]["cursor"]
        if position == 0:
            session.event(request, 1, output(0, (1, texts[job][:4])))
            both.wait(10)
            session.close()
        else:
            session.event(request, 1, output(position, (1, texts[job][position:])))
            session.ok(request, {"cursor": 8, "status": ended[job]})

    daemon.handlers["status"] = lambda s, r: s.ok(
        r, ended[{"x": JOB_ID, "y": OTHER_ID}[r["args"]["job"]]]
    )
    daemon.handlers["logs"] = logs
    status, out, err = runctl("logs", "-f", "x", "y")
    assert status == 0
    assert sorted(out.splitlines()) == ["3f2a | one", "3f2a | two", "77aa | ONE", "77aa | TWO"]
    assert sorted(args["cursor"] for args in daemon.args("logs")) == [0, 0, 4, 4]
    back = "runctl: runnerd is back"
    away = "runctl: runnerd is away; waiting for it, at most 60 s"
    # Each of the two may lose it before or after the other has found it again.
    assert err.splitlines() in ([away, back], [away, back] * 2)


def test_a_daemon_that_speaks_nonsense_to_one_follower_ends_all(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    ids = {"x": JOB_ID, "y": OTHER_ID}

    def logs(session: Session, request: dict[str, Any]) -> None:
        if request["args"]["job"] == OTHER_ID:
            session.event(request, 1, {"offset": 0})
        # The other one stays silent, as a job that runs.

    daemon.handlers["status"] = lambda s, r: s.ok(r, make_job(job=ids[r["args"]["job"]]))
    daemon.handlers["logs"] = logs
    before = threading.active_count()
    status, _, err = runctl("logs", "-f", "x", "y")
    assert (status, err) == (125, "runctl: runnerd sent a log event of another form\n")
    wait_until(lambda: threading.active_count() <= before + 3)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Cursors and exit statuses


def test_the_cursor_is_shown_on_stderr(runctl: Runctl, daemon: FakeDaemon, make_job: Job) -> None:
    serve(daemon, build=Served(make_job(), [output(10, (1, b"out"))]))
    assert runctl("logs", "--cursor", "10", "--show-cursor", "build") == (
        0, "out", "-- cursor: 13\n",
    )  # fmt: skip
    assert daemon.args("logs")[0]["cursor"] == 10


def test_exit_code_is_the_jobs_or_125_when_it_has_not_ended(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    serve(
        daemon,
        good=Served(make_job(name="good", result={}), []),
        bad=Served(make_job(name="bad", job=OTHER_ID, result={"exit_status": 9}), []),
    )
    assert runctl("logs", "--exit-code", "bad") == (9, "", "")
    assert runctl("logs", "--exit-code", "good") == (0, "", "")
    assert runctl("logs", "--exit-code", "good", "bad")[0] == 9
    # As `wait` has it: a job that is refused has no status.
    assert runctl("logs", "--exit-code", "good", "nope")[0] == 125
    assert runctl("logs", "--exit-code", "nope", "bad")[0] == 9
    assert runctl("logs", "--exit-code", "-f", "bad", "nope")[0] == 9
    serve(daemon, build=Served(make_job(), []))
    assert runctl("logs", "--exit-code", "build") == (
        125, "", "runctl: job 3f2a81c0 has not ended; it is running\n",
    )  # fmt: skip


@pytest.mark.parametrize("follow", [[], ["-f"]])
def test_with_exit_code_an_end_that_is_not_the_jobs_own_is_said(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, follow: list[str]
) -> None:
    lost = {"reason": "lost", "exit_status": 125, "exit_code": None, "detail": "it was killed"}
    serve(
        daemon,
        build=Served(make_job(result=lost), [output(0, (1, b"out"))]),
        slow=Served(make_job(job=OTHER_ID, result={"reason": "timeout", "exit_status": 124}), []),
    )
    said = "runctl: job 3f2a81c0 was lost: it was killed\n"
    assert runctl("logs", *follow, "--exit-code", "build") == (125, "out", said)
    assert runctl("logs", *follow, "build") == (0, "out", "")
    status, _, err = runctl("logs", *follow, "--exit-code", "slow", "build")
    assert (status, err) == (124, f"runctl: job 77aa81c0 ended at its time limit\n{said}")


@pytest.mark.parametrize("jobs", [["build"], ["build", "nope"]])
def test_a_follower_from_a_time_to_come_shows_nothing_of_before(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, jobs: list[str]
) -> None:
    events = [output(9, (1, b"early\n"), (2, b"early\n"), (1, b"late\n"))]
    serve(daemon, build=Served(make_job(result={}), events))
    daemon.answer("locate", {"cursor": 9, "stdout": 9, "stderr": 9, "end": 9})
    since = f"@{NOON // SECOND + 2}"
    _, out, err = runctl("logs", "-f", "--since", since, *jobs)
    assert out.endswith("late\n")
    assert "early" not in out + err


# Terminals


class Screen:
    """runctl with terminals of its own for stdout and stderr, or one for both."""

    def __init__(self, daemon: FakeDaemon, *arguments: str, **environment: str) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, "--socket", daemon.path, *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm", "NO_COLOR": "", **environment},
        )  # fmt: skip
        os.close(slave)
        self.shown = b""

    def read_until(self, *texts: bytes) -> None:
        while not all(text in self.shown for text in texts):
            self.shown += self._read()

    def end(self) -> tuple[int, bytes]:
        """The exit status, and what is on the terminal, with its newlines as they were."""
        try:
            while data := self._read():
                self.shown += data
        except OSError:
            # EIO: nobody has the other side open any more.
            pass
        os.close(self._master)
        return self.process.wait(20), self.shown.replace(b"\r\n", b"\n")

    def _read(self) -> bytes:
        ready, _, _ = select.select([self._master], [], [], 20)
        if not ready:
            self.process.kill()
            self.process.wait(20)
            pytest.fail(f"nothing comes any more after {self.shown!r}")
        return os.read(self._master, 65536)


def test_on_a_terminal_nothing_acts_on_it_but_colours(daemon: FakeDaemon, make_job: Job) -> None:
    text = b"\x1b[31mred\n\x1b]0;title\x07\xff\x1b[0m 50%\r99%\nlast \x1b[1m"
    serve(daemon, build=Served(make_job(), [output(0, (1, text[:40])), output(40, (1, text[40:]))]))
    status, shown = Screen(daemon, "logs", "build").end()
    assert status == 0
    assert shown == b"\x1b[31mred\n^[]0;title^G<FF>\x1b[0m 50%\r99%\nlast \x1b[1m\x1b[0m"
    assert Screen(daemon, "logs", "--raw", "build").end() == (0, text)


def test_a_terminal_of_another_encoding_gets_ascii(daemon: FakeDaemon, make_job: Job) -> None:
    serve(daemon, build=Served(make_job(), [output(0, (1, "é\n".encode()))]))
    shown = Screen(
        daemon, "logs", "build", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"
    ).end()
    assert shown == (0, b"<C3><A9>\n")


def test_messages_stand_on_lines_of_their_own_and_in_no_jobs_colour(
    daemon: FakeDaemon, make_job: Job
) -> None:
    events = [output(0, (1, b"\x1b[31mred")), {**GAP, "why": "damaged"}, output(2048, (2, b"x"))]
    serve(daemon, build=Served(make_job(), events))
    status, shown = Screen(daemon, "logs", "--show-cursor", "build").end()
    assert status == 0
    assert shown.splitlines() == [
        b"\x1b[31mred\x1b[0m",
        b"runctl: 2 KiB of output is damaged and cannot be shown",
        b"x",
        b"-- cursor: 2049",
    ]


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, [b"\x1b[36ma      | \x1b[0ma1", b"\x1b[33mlonger | \x1b[0mb1"]),
        ({"NO_COLOR": "1"}, [b"a      | a1", b"longer | b1"]),
        ({"TERM": "dumb"}, [b"a      | a1", b"longer | b1"]),
    ],
)
def test_names_are_coloured_on_a_terminal_that_has_colours(
    daemon: FakeDaemon, environment: dict[str, str], first: list[bytes]
) -> None:
    status, shown = Screen(daemon, "logs", "a", "longer", **environment).end()
    assert (status, shown.split(b"\n")[:2]) == (0, first)


def test_lines_on_a_terminal_end_without_a_colour(daemon: FakeDaemon, make_job: Job) -> None:
    serve(daemon, build=Served(make_job(), [output(0, (1, b"\x1b[31mred\r\n5%\r6%\n\x9b2J\n"))]))
    assert Screen(daemon, "logs", "--grep", "", "build").end() == (
        0, b"\x1b[31mred\x1b[0m\n5%^M6%\n<9B>2J\n",
    )  # fmt: skip


@pytest.mark.parametrize("jobs", [["x"], ["x", "y"]])
def test_an_interrupt_ends_following_and_leaves_the_terminal_as_it_was(
    daemon: FakeDaemon, make_job: Job, jobs: list[str]
) -> None:
    ids = {"x": JOB_ID, "y": OTHER_ID}
    daemon.handlers["status"] = lambda s, r: s.ok(
        r, make_job(job=ids[r["args"]["job"]], name=r["args"]["job"])
    )
    daemon.handlers["logs"] = lambda s, r: s.event(r, 1, output(0, (1, b"one\n\x1b[31mtwo")))
    screen = Screen(daemon, "logs", "-f", "--show-cursor", *jobs)
    screen.read_until(*([b"two"] if len(jobs) == 1 else [b"x | \x1b[0mone", b"y | \x1b[0mone"]))
    screen.process.send_signal(signal.SIGINT)
    status, shown = screen.end()
    assert status == 130
    plain = re.sub(rb"\x1b\[[0-9]*m", b"", shown)
    lines = sorted(line for line in plain.splitlines() if line)
    # What was written at that very moment may not be counted yet: better twice than never.
    cursors = [line for line in lines if re.fullmatch(rb"-- cursor: (0|12)( \([xy]\))?", line)]
    assert len(cursors) == len(jobs)
    shown_lines = (
        [b"one", b"two"] if len(jobs) == 1 else [b"x | one", b"x | two", b"y | one", b"y | two"]
    )
    assert lines == sorted(cursors + shown_lines)
    assert shown.rfind(b"\x1b[0m") > shown.rfind(b"\x1b[31m")
