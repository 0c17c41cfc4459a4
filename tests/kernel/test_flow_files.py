"""`runctl flow` as a person uses it: the examples, a step that fails, a restart, a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.harness import PROJECT
from tests.kernel.hostile import no_defect_in_the_log  # noqa: F401 - used by every test here

if TYPE_CHECKING:
    from tests.kernel.harness import Daemon

HOME = "/home/alice"
# The second step fails until somebody puts a file there.
REPAIRED = f"""
[steps.first]
command = "echo first >> {HOME}/ran"
[steps.second]
needs = ["first"]
command = "test -e {HOME}/repaired || exit 3"
[steps.third]
needs = ["second"]
command = "echo third >> {HOME}/ran"
[steps.mourn]
needs = ["second:fail"]
command = "true"
"""


@pytest.fixture
def written(users: dict[str, int]) -> Any:
    """Writes a file in alice's directory; afterwards there is nothing of it left."""
    names = {"ran", "repaired"}

    def write(text: str, name: str = "release.toml") -> str:
        names.add(name)
        path = f"{HOME}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    yield write
    for name in names:
        if os.path.exists(f"{HOME}/{name}"):
            os.unlink(f"{HOME}/{name}")


def alice(daemon: Daemon, *args: str) -> tuple[int, str, str]:
    done = daemon.runctl(*args, user="alice", cwd=HOME)
    return done.returncode, done.stdout, done.stderr


def shown(daemon: Daemon, flow: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(alice(daemon, "flow", "show", "--json", flow)[1])
    return found


@pytest.mark.parametrize("name", ["flow.toml", "flow.yaml"])
def test_an_example_runs_and_ends_well(daemon: Daemon, name: str) -> None:
    code, out, err = alice(daemon, "flow", "run", "-f", f"{PROJECT}/examples/{name}")
    assert (code, err) == (0, ""), out
    lines = out.splitlines()
    first, second = (next(n for n, line in enumerate(lines) if line.startswith(f"{step}: ok"))
                     for step in ("build", "test.1"))  # fmt: skip
    assert first < second
    assert lines[-1].startswith("release (")
    assert lines[-1].endswith(": 1 skipped, 7 ok")
    tree = alice(daemon, "flow", "show", "release")[1].splitlines()
    assert re.fullmatch(r"├─ ✓ test\.2  python=3\.10 database=sqlite  after lint \(any\)  ok \ds",
                        tree[4])  # fmt: skip
    assert re.fullmatch(r"│  └─ ✓ publish  after test +ok \ds", tree[7])
    assert re.fullmatch(r"└─ – tell  after build \(fail\) +skipped", tree[8])  # noqa: RUF001
    assert alice(daemon, "logs", "release.test.3") == (0, "testing with 3.11 and none\n", "")
    assert alice(daemon, "logs", "release.build") == (0, "hello, building\n", "")


def test_a_flow_goes_on_from_where_it_failed(daemon: Daemon, written: Any) -> None:
    code, out, _ = alice(daemon, "flow", "run", "-f", written(REPAIRED))
    assert code == 3, out
    assert "second: failed: exit 3" in out
    assert "third: skipped" in out
    assert "mourn: ok" in out
    assert alice(daemon, "wait", "release")[0] == 3
    written("", "repaired")
    code, _, err = alice(daemon, "retry", "release")
    assert (code, err) == (0, "")
    code, out, _ = alice(daemon, "flow", "show", "--watch", "release")
    assert code == 0, out
    with open(f"{HOME}/ran", encoding="utf-8") as file:
        assert file.read() == "first\nthird\n"
    steps = {member["step"]: member for member in shown(daemon, "release")["members"]}
    assert steps["second"]["attempt"] == 2
    assert steps["first"]["attempt"] == 1


def test_what_only_the_daemon_knows_is_refused_in_the_files_words(
    daemon: Daemon, written: Any
) -> None:
    steps = '[steps.good]\ncommand = "true"\n[steps.bad]\nneeds = ["good"]\ncommand = "true"\n'
    for line, said in (
        ('queue = "nowhere"', "step bad: queue: 'nowhere' given; there is no such queue"),
        ('cwd = "/nowhere"', "step bad: cwd: "),
        ('user = "root"', "step bad: user: "),
        ('label = { "" = "x" }', "step bad: label: "),
    ):
        file = written(f"{steps}{line}\n")
        code, out, err = alice(daemon, "flow", "run", file)
        assert (code, out) == (125, "")
        assert err.startswith(f"runctl: {file}: {said}"), err
    assert json.loads(alice(daemon, "ps", "--all", "--json")[1]) == []


def test_the_values_of_a_matrix_reach_the_command(daemon: Daemon, written: Any) -> None:
    file = written(
        '[steps.a]\nmatrix = { "py-version" = [3.10] }\nenv = { B = "${matrix.py-version}" }\n'
        'command = ["sh", "-c", "echo $0 $1 $B $RUNNERD_MATRIX_PY_VERSION $RUNNERD_STEP", '
        '"${matrix.py-version}", "$${matrix.x}"]\n',
    )
    assert alice(daemon, "flow", "run", "-f", file)[0] == 0
    text = "3.10 ${matrix.x} 3.10 3.10 a.1\n"
    assert alice(daemon, "logs", "release.a.1") == (0, text, "")


def test_the_tree_outlives_a_kill_of_runnerd(own_daemon: Daemon, written: Any) -> None:
    own_daemon.start()
    file = written('[steps.a]\ncommand = "sleep 2"\n[steps.b]\nneeds = "a"\ncommand = "true"\n')
    follower = own_daemon.spawn_runctl("flow", "run", "-f", file, user="alice", cwd=HOME)
    assert follower.stdout is not None
    assert select.select([follower.stdout], [], [], 20)[0]
    own_daemon.kill()
    own_daemon.start()
    out, err = follower.communicate(timeout=30)
    assert follower.returncode == 0, (out, err)
    assert b"b: ok" in out
    assert err.count(b"runnerd is away") == 1


def test_a_terminal_is_left_as_it_was_and_the_flow_goes_on(daemon: Daemon, written: Any) -> None:
    file = written('[steps.a]\ncommand = "sleep 60"\n[steps.b]\nneeds = "a"\ncommand = "true"\n')
    assert alice(daemon, "flow", "run", file)[0] == 0
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        viewer = subprocess.Popen(
            daemon._runctl_command(("flow", "show", "-w", "release")),
            **{**daemon._as_user("alice", HOME, {"TERM": "xterm"}), "stdin": theirs},
            stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        # The second picture goes back over the first.
        seen = read_until(ours, b"\x1b[3A\r")
        assert "● a".encode() in re.sub(rb"\x1b\[[0-9]*m", b"", seen)
        viewer.send_signal(signal.SIGINT)
        last = read_until(ours, b"stops it")
        assert viewer.wait(20) == 130
        assert b"the flow goes on; `runctl stop " in last
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)
    assert shown(daemon, "release")["state"] == "running"
    assert alice(daemon, "stop", "release")[0] == 0


def read_until(terminal: int, text: bytes) -> bytes:
    """What a terminal shows up to there."""
    seen = b""
    deadline = time.monotonic() + 30
    while text not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
    return seen
