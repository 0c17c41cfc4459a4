"""The steps into a job that runs: their order is the safety argument, and nothing is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from isolation import entry
from isolation.payload import Command, Streams

ROOT = Path(__file__).parents[3]


def test_nothing_of_the_host_is_left_before_the_job_is_entered_and_nothing_found_before_the_drop() -> (  # noqa: E501
    None
):
    command = Command([b"x"], {}, b"/", 0o022, 1, 1, ())
    where = entry.Entry(3, None, {"capabilities": []}, b"/", {}, None)
    steps = [name for name, _ in entry._steps(command, Streams(4, 5, 6, 7), where)]
    order = [
        "leave the session", "let go of the host", "enter the namespaces",
        "enter the user namespace", "drop privileges", "enter the working directory",
        "confine to paths", "reset the signals", "mark the descriptors", "announce the command",
        "filter the system calls",
    ]  # fmt: skip
    assert [name for name in steps if name in order] == order
    assert steps[-1] == order[-1]


PROGRAM = """
import os, sys
from isolation import entry
from isolation.payload import Streams
kept = os.dup(0), os.dup(0)
left = os.dup(0)
sys.modules.pop("this", None)
entry._let_go(Streams(0, 1, 2, kept[0]), entry.Entry(kept[1], None, {}, b"/", {}, None))
assert sorted(map(int, os.listdir("/proc/self/fd")))[:5] == [0, 1, 2, *sorted(kept)], left
for name in ("this", "encodings.cp1252"):
    try:
        __import__(name)
    except ImportError as error:
        assert "from a job's tree" in str(error), error
    else:
        raise AssertionError(name)
try:
    "x".encode("cp1252")
except LookupError:
    os.write(1, b"refused")
"""


def test_once_the_host_is_let_go_no_module_is_imported_and_no_descriptor_kept() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stdout) == (0, "refused"), done.stderr
