"""`runctl logs` as a person uses it: any part of the output, several jobs, restarts, terminals."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel import inside
from tests.kernel.hostile import no_defect_in_the_log  # noqa: F401 - used by every test here

if TYPE_CHECKING:
    from tests.kernel.harness import Daemon

# Both streams in turns, in pieces that end anywhere.
MIXED = """
import random
chance = random.Random(4)
def pieces(count):
    for number in range(count):
        stream = chance.choice((1, 1, 2))
        text = b"%d of %d " % (number, stream) + b"x" * chance.randrange(60)
        yield stream, text + b"\\n" * chance.choice((0, 1, 1, 2))
"""
PIECES = 3000
WRITE = f"import os\nfor stream, text in pieces({PIECES}): os.write(stream, text)\n"


def mixed() -> dict[int, bytes]:
    """What MIXED writes to each stream."""
    names: dict[str, Any] = {}
    exec(MIXED, names)  # noqa: S102  the same program, here
    written: dict[int, bytes] = defaultdict(bytes)
    for stream, text in names["pieces"](PIECES):
        written[stream] += text
    return written


def ended(daemon: Daemon, *argv: str, user: str = "alice", name: str | None = None) -> str:
    """A job that has ended: its id."""
    options = ["--name", name] if name else []
    done = daemon.runctl("run", "-d", *options, "--", *argv, user=user)
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    with daemon.client() as client:
        assert client.wait(job, timeout_seconds=60)["state"] == "ended"
    return job


def tail(data: bytes, count: int) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(lines[len(lines) - count :]) if count < len(lines) else data


def shown(daemon: Daemon, *arguments: str, user: str = "alice") -> tuple[bytes, bytes]:
    """What `runctl logs` writes, byte for byte."""
    process = daemon.spawn_runctl("logs", *arguments, user=user)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out, err


# Which part


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_the_last_lines_are_those_of_the_chosen_streams_over_segment_borders(
    own_daemon: Daemon, compression: str
) -> None:
    own_daemon.config.write_text(
        f'[logs]\nsegment_bytes = 4096\nkeep_bytes = 10000000\ncompression = "{compression}"\n'
    )
    own_daemon.start()
    job = ended(own_daemon, *inside.python(MIXED + WRITE))
    written = mixed()
    for stream, option in ((1, "--stdout"), (2, "--stderr")):
        for count in (0, 1, 2, 500, 10**9):
            assert shown(own_daemon, "-n", str(count), option, job)[stream - 1] == tail(
                written[stream], count
            )
    out, err = shown(own_daemon, "-n", "300", job)
    assert written[1].endswith(out)
    assert written[2].endswith(err)
    assert len(out.splitlines()) + len(err.splitlines()) == 300
    assert shown(own_daemon, job) == (written[1], written[2])


def test_times_select_what_was_written_between_them(daemon: Daemon) -> None:
    script = "for i in 1 2 3 4 5 6; do echo out $i; echo err $i >&2; sleep 0.05; done"
    job = ended(daemon, "sh", "-c", script)
    items = [json.loads(line) for line in shown(daemon, "--json", job)[0].splitlines()[:-1]]
    begin, end = items[3]["time_ns"], items[-4]["time_ns"]
    since, until = (f"@{ns // 10**9}.{ns % 10**9:09}" for ns in (begin, end))
    wanted: dict[str, str] = defaultdict(str)
    for item in items:
        if begin <= item["time_ns"] <= end:
            wanted[item["stream"]] += item["text"]
    out, err = shown(daemon, "--since", since, "--until", until, job)
    assert (out.decode(), err.decode()) == (wanted["stdout"], wanted["stderr"])
    last = shown(daemon, "--since", since, "--until", until, "-n", "1", "--stderr", job)
    assert last == (b"", wanted["stderr"].splitlines(keepends=True)[-1].encode())
    assert shown(daemon, "--since", "1h", job) == shown(daemon, job)
    assert shown(daemon, "--until", "1h", job) == (b"", b"")


def test_lines_have_the_times_at_which_they_were_written(daemon: Daemon) -> None:
    before = time.time()
    job = ended(daemon, "sh", "-c", "printf be; sleep 0.3; echo gun; sleep 0.3; echo second")
    lines = shown(daemon, "-t", job)[0].decode().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["begun", "second"]
    stamp = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"
    assert all(re.fullmatch(stamp, line.split()[0]) for line in lines)
    seconds = [float(line.split()[0][17:23]) for line in lines]
    assert (seconds[1] - seconds[0]) % 60 > 0.55
    assert (seconds[0] - before) % 60 < 30


def test_going_on_from_each_shown_cursor_gives_every_byte_once(daemon: Daemon) -> None:
    program = "import os, time\nfor i in range(40): os.write(1, b'%d ' % i); time.sleep(0.05)"
    done = daemon.runctl("run", "-d", "--", *inside.python(program), user="alice")
    job, cursor, read = done.stdout.strip(), "0", b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        out, err = shown(daemon, "--cursor", cursor, "--show-cursor", job)
        read += out
        cursor = err.decode().removeprefix("-- cursor: ").strip()
        with daemon.client() as client:
            if client.status(job)["state"] == "ended" and not out:
                break
    assert read == b"".join(b"%d " % i for i in range(40))


def test_what_retention_removed_is_said_and_accounted_for(daemon: Daemon) -> None:
    program = "import os\nfor i in range(4000): os.write(1, b'%099d\\n' % i)"
    options = ("--output-max", "64K", "--output-policy", "drop-oldest")
    done = daemon.runctl("run", *options, "--", *inside.python(program), user="alice")
    said = re.findall(
        r"runctl: [0-9.]+ [KM]?i?B of older output was removed by retention", done.stderr
    )
    assert len(said) == done.stderr.count("\n")
    assert len(said) < 20
    with daemon.client() as client:
        job = next(client.jobs(ended=True))["job"]
    out, err = shown(daemon, "--json", job)
    items = [json.loads(line) for line in out.splitlines()]
    assert items[0]["why"] == "removed"
    texts = "".join(item["text"] for item in items[1:-1])
    assert (
        items[0]["gap_bytes"] + len(texts) == items[-1]["status"]["result"]["log_bytes"] == 400_000
    )
    assert texts.encode() == shown(daemon, job)[0]
    assert not err


# Following


def test_following_waits_for_a_queued_job_and_exits_as_it_does(own_daemon: Daemon) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 1\n")
    own_daemon.start()
    gate = own_daemon.runctl("run", "-d", "--", "sleep", "1000", user="alice").stdout.strip()
    script = "echo out; echo err >&2; exit 7"
    job = own_daemon.runctl("run", "-d", "--", "sh", "-c", script, user="alice").stdout.strip()
    follower = own_daemon.spawn_runctl("logs", "-f", "-n", "5", "--exit-code", job, user="alice")
    hurried = own_daemon.runctl("logs", "--exit-code", job, user="alice")
    assert (hurried.returncode, hurried.stdout) == (125, "")
    assert hurried.stderr == f"runctl: job {job[:8]} has not ended; it is queued\n"
    own_daemon.runctl("stop", "--kill", gate, user="alice")
    assert follower.communicate(timeout=60) == (b"out\n", b"err\n")
    assert follower.returncode == 7


def test_several_followed_jobs_lose_and_repeat_nothing_over_restarts(own_daemon: Daemon) -> None:
    own_daemon.start()
    names = ("one", "two", "three")
    program = (
        "import os, time\nfor i in range(150): os.write(1 + i % 2, b'%d\\n' % i); time.sleep(0.02)"
    )
    for name in names:
        own_daemon.runctl("run", "-d", "--name", name, "--", *inside.python(program), user="alice")
    follower = own_daemon.spawn_runctl("logs", "-f", "--exit-code", *names, user="alice")
    assert follower.stdout is not None
    seen = b""
    for _ in range(3):
        seen += os.read(follower.stdout.fileno(), 4096)
        own_daemon.kill()
        own_daemon.start()
    out, err = follower.communicate(timeout=60)
    out = seen + out
    assert follower.returncode == 0, err
    lines = (out + err).decode().splitlines()
    for name in names:
        for rest in (0, 1):
            stream = (out, err)[rest].decode().splitlines()
            numbers = [line.split("| ")[1] for line in stream if line.startswith(f"{name:<5} |")]
            assert numbers == [str(i) for i in range(rest, 150, 2)], name
    said = [line for line in lines if line.startswith("runctl: ")]
    assert said
    assert len(said) <= 2 * 3 * len(names)
    assert set(said) == {
        "runctl: runnerd is away; waiting for it, at most 60 s", "runctl: runnerd is back",
    }  # fmt: skip


def test_a_reader_that_stands_still_holds_no_job_up_and_costs_little_memory(
    daemon: Daemon,
) -> None:
    program = "import os\nfor i in range(200): os.write(1, b'x' * 99999 + b'\\n')"
    for name in ("a", "b", "c"):
        daemon.runctl("run", "-d", "--name", name, "--", *inside.python(program), user="alice")
    follower = daemon.spawn_runctl("logs", "-f", "a", "b", "c", user="alice")
    try:
        assert follower.stdout is not None
        seen = os.read(follower.stdout.fileno(), 1)
        with daemon.client() as client:
            for name in ("a", "b", "c"):
                assert client.wait(name, timeout_seconds=60)["state"] == "ended"
        with open(f"/proc/{follower.pid}/status", encoding="ascii") as status:
            fields = inside.status_fields(status.read())
        assert int(fields["VmHWM"].split()[0]) < 60 * 1024, fields["VmHWM"]
        out, err = follower.communicate(timeout=60)
    finally:
        follower.kill()
    assert (len(seen + out), err) == (3 * 200 * (100_000 + len("a | ")), b"")


# Other people, and terminals


def test_what_is_another_users_is_refused_as_if_it_were_not_there(daemon: Daemon) -> None:
    theirs = ended(daemon, "echo", "secret", name="theirs")
    mine = ended(daemon, "echo", "mine", user="bob", name="mine")
    for arguments in ((theirs,), ("-n", "1", theirs), ("-f", theirs)):
        done = daemon.runctl("logs", *arguments, user="bob")
        assert (done.returncode, done.stdout) == (125, "")
        unknown = daemon.runctl("logs", *arguments[:-1], "0" * 8 + theirs[8:], user="bob")
        assert unknown.stderr.replace("0" * 8, theirs[:8]) == done.stderr
    both = daemon.runctl("logs", "theirs", "mine", user="bob")
    assert (both.returncode, both.stdout) == (125, "mine | mine\n")
    assert both.stderr == "runctl: theirs: no job of yours matches; `runctl ps --all` lists them\n"
    assert mine


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), b"\x1b[31mred\x1b[0m ^[]0;title^G<9B>2J<U+202E>\r\nunfinished \x1b[1m\x1b[0m"),
        (("--grep", "red"), b"\x1b[31mred\x1b[0m ^[]0;title^G<9B>2J<U+202E>\r\n"),
        (
            ("--raw",),
            b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x9b2J\xe2\x80\xae\r\nunfinished \x1b[1m",
        ),
    ],
)
def test_a_terminal_gets_colours_and_nothing_that_acts_on_it(
    daemon: Daemon, options: tuple[str, ...], wanted: bytes
) -> None:
    text = r"\033[31mred\033[0m \033]0;title\007\2332J\342\200\256\nunfinished \033[1m"
    job = ended(daemon, "printf", text)
    assert on_a_terminal(daemon, "logs", *options, job) == wanted


def on_a_terminal(daemon: Daemon, *arguments: str) -> bytes:
    """What a terminal gets of runctl."""
    master, slave = pty.openpty()
    how: Any = daemon._as_user("alice", "/", {"TERM": "xterm"}) | {"stdin": slave}
    process = subprocess.Popen(daemon._runctl_command(arguments), **how, stdout=slave, stderr=slave)
    os.close(slave)
    data = b""
    try:
        # It hangs up (EIO) when the last one has closed it.
        while part := os.read(master, 65536):
            data += part
    except OSError:
        pass
    os.close(master)
    assert process.wait(20) == 0, data
    return data


def test_an_interrupt_ends_following_and_the_job_goes_on(daemon: Daemon) -> None:
    for name in ("a", "b"):
        script = "echo ready; exec sleep 1000"
        daemon.runctl("run", "-d", "--name", name, "--", "sh", "-c", script, user="alice")
    for jobs in (["a"], ["a", "b"]):
        follower = daemon.spawn_runctl("logs", "-f", *jobs, user="alice")
        assert follower.stdout is not None
        seen = b""
        while seen.count(b"ready\n") < len(jobs):
            assert select.select([follower.stdout], [], [], 20)[0]
            seen += os.read(follower.stdout.fileno(), 4096)
        follower.send_signal(signal.SIGINT)
        assert follower.communicate(timeout=20) == (b"", b"")
        assert follower.returncode == 130
    with daemon.client() as client:
        assert [client.status(name)["state"] for name in ("a", "b")] == ["running", "running"]
