"""Dropping privileges, looked at in /proc: what is given up is gone from every set, for good."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isolation import privileges
from isolation.capabilities import ROOT_CAPABILITIES, bits

ROOT = Path(__file__).parents[3]

STATUS = """
import os, sys
from isolation import privileges
from isolation.capabilities import ROOT_CAPABILITIES, bits
def state():
    with open("/proc/self/status") as file:
        return dict(line.rstrip("\\n").split(":\\t", 1) for line in file if ":\\t" in line)
uid, gid, groups = int(sys.argv[1]), int(sys.argv[2]), [int(n) for n in sys.argv[3].split(",") if n]
privileges.drop_to(uid, gid, groups, sys.argv[4].split())
after = state()
names = "Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs"
for name in names.split():
    print(name, " ".join(after[name].split()))
sys.stdout.flush()
if sys.argv[5:]:
    os.execv(sys.argv[5], sys.argv[5:])
try:
    os.setresuid(0, 0, 0)
    print("regained")
except PermissionError:
    print("for good")
"""


def drop(
    uid: int, gid: int, groups: str, capabilities: str = "", *command: str
) -> tuple[dict[str, str], str]:
    done = subprocess.run(
        [sys.executable, "-c", STATUS, str(uid), str(gid), groups, capabilities, *command],
        capture_output=True, check=True, cwd=ROOT, text=True, timeout=30,
    )  # fmt: skip
    *lines, last = done.stdout.splitlines()
    return dict(line.partition(" ")[::2] for line in lines), last


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: there is something to drop")


@needs_root
def test_an_ordinary_user_keeps_nothing_at_all_and_gets_it_back_never() -> None:
    after, last = drop(1000, 1001, "7,9")
    assert after == {
        "Uid": "1000 1000 1000 1000", "Gid": "1001 1001 1001 1001", "Groups": "7 9",
        "CapInh": "0" * 16, "CapPrm": "0" * 16, "CapEff": "0" * 16, "CapBnd": "0" * 16,
        "CapAmb": "0" * 16, "NoNewPrivs": "1",
    }  # fmt: skip
    assert last == "for good"


@needs_root
def test_root_keeps_no_more_than_the_list() -> None:
    after, _ = drop(0, 0, "")
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(after[name], 16) & ~bits(ROOT_CAPABILITIES) == 0
    assert (int(after["CapInh"], 16), int(after["CapAmb"], 16), after["NoNewPrivs"]) == (0, 0, "1")


@pytest.mark.skipif(os.geteuid() == 0, reason="needs somebody who is not root")
def test_without_privilege_dropping_to_another_fails_instead_of_doing_half_of_it() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        drop(os.geteuid() + 1, os.getegid(), "")


@needs_root
def test_what_an_ordinary_user_is_given_is_in_every_set_and_nothing_else_is() -> None:
    after, last = drop(1000, 1000, "", "CAP_NET_BIND_SERVICE KILL")
    given = f"{bits(['NET_BIND_SERVICE', 'KILL']):016x}"
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    assert {name: after[name] for name in names} == dict.fromkeys(names, given)
    assert last == "for good"


@needs_root
def test_what_an_ordinary_user_is_given_survives_the_exec() -> None:
    _, last = drop(1000, 1000, "", "KILL", "/bin/sh", "-c", "grep CapEff /proc/self/status")
    assert last.split() == ["CapEff:", f"{bits(['KILL']):016x}"]


@needs_root
def test_root_is_given_what_is_added_to_its_list_and_keeps_it_over_the_exec() -> None:
    command = ("/bin/sh", "-c", "grep CapEff /proc/self/status")
    _, last = drop(0, 0, "", "SYS_NICE", *command)
    assert last.split() == ["CapEff:", f"{bits([*ROOT_CAPABILITIES, 'SYS_NICE']):016x}"]


@needs_root
def test_a_capability_that_runnerd_lacks_fails_the_drop() -> None:
    program = (
        "import os\nfrom isolation import privileges, syscalls\n"
        "from isolation.capabilities import bits\n"
        "syscalls.set_capabilities(bits(['SETUID', 'SETGID', 'SETPCAP']))\n"
        "try:\n    privileges.drop_to(1000, 1000, [], ['NET_RAW'])\n"
        "except PermissionError as error:\n    print(error.strerror)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, cwd=ROOT, text=True, check=True
    )
    assert "runnerd itself lacks a capability" in done.stdout


def test_an_unknown_capability_is_refused_before_anything_is_changed() -> None:
    with pytest.raises(ValueError, match="is not a capability"):
        privileges.drop_to(os.getuid(), os.getgid(), [], ["CAP_EVERYTHING"])


def test_outside_of_a_user_namespace_becoming_its_root_is_refused() -> None:
    """As the host's root it would be root."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        if file.read().split() != ["0", "0", "4294967295"]:
            pytest.skip("needs the host's own user namespace")
    with pytest.raises(PermissionError, match="not in a user namespace of its own"):
        privileges.drop_to(1000, 1000, [], in_userns=True)
