"""Limits and surroundings that cannot be: each refused by its field, and nothing made for it.

What a schema can say is tried on the wire, what a person would type with runctl; what only
this host knows (paths, rights, features) with both. Frames are in `test_bad_input`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    existing,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)

if TYPE_CHECKING:
    from tests.kernel.harness import Daemon

MIB = 1024 * 1024
PIB = 2**50
# Field of limits, wrong values, a part of what is allowed.
LIMITS: dict[str, tuple[list[Any], str]] = {
    "memory_high_bytes": ([0, -1, 4 * MIB - 1, PIB + 1, 2**64 - 1, "1M", 1.5, True, []], "4194304"),
    "memory_swap_max_bytes": ([-1, PIB + 1, "0", 0.5, False], "0 to"),
    "oom_policy": (["", "panic", "KILL", 1, True, ["kill"]], "kill or continue"),
    "cpu_weight": ([0, -1, 10_001, "100", 1.5, True], "1 to 10000"),
    "cpu_set": (
        ["", "a", "0-", "-1", "0,,1", "0 - 1", "0-1,", "999999", "0\n", "0" * 2000, "1-0", 5, b"0"],
        "such as 0-3,8",
    ),
    "cpu_idle": ([1, 0, "yes", []], "bool"),
    "io_weight": ([0, 10_001, "5", 2.5], "1 to 10000"),
    "cpu_time_seconds": ([0, -1, math.nan, math.inf, -math.inf, "5", 10**10], "0.001 to"),
    "warning_seconds": ([0, -1, math.nan, "5"], "0.001 to"),
    "warning_signal": ([0, -1, 65, "USR1", 1.5], "1 to 64"),
    "output_max_bytes": ([0, 4095, PIB + 1, "1M"], "4096 to"),
    "output_policy": (["", "stop", "drop_oldest", 1], "drop-oldest, block or end"),
    "scratch_max_bytes": ([0, MIB - 1, PIB + 1, "64M"], "1048576 to"),
    "net_egress_bits_per_second": ([0, 7999, 10**12 + 1, "10mbit", 1e6], "8000 to"),
    "net_ingress_bits_per_second": ([0, 7999, 10**12 + 1, "10mbit"], "8000 to"),
}  # fmt: skip
LIMIT_CASES = [
    (name, value, allowed) for name, (values, allowed) in LIMITS.items() for value in values
]


def refused(daemon: Daemon, asked: dict[str, Any], op: str = "submit") -> dict[str, Any]:
    """The refusal of a submission with these fields; nothing is left of it."""
    with Wire(daemon) as wire:
        args = {**submission(), **asked} if op == "submit" else asked
        error: dict[str, Any] = wire.error(op, args)
    assert existing(daemon) == ([], [], 0)
    assert len(repr(error)) < 2000
    return error


@pytest.mark.parametrize(("name", "value", "allowed"), LIMIT_CASES, ids=lambda v: ascii(v)[:20])
def test_a_limit_that_cannot_be_is_refused_with_what_is_allowed(
    daemon: Daemon, name: str, value: Any, allowed: str
) -> None:
    error = refused(daemon, {"limits": {name: value}})
    assert (error["code"], error["field"]) == ("invalid-argument", f"limits.{name}"), error
    assert allowed in error["allowed"], error
    # The same in an update, before it is asked which job is meant.
    error = refused(daemon, {"job": "x" * 8, "limits": {name: value}}, "update")
    assert (error["code"], error["field"]) == ("invalid-argument", f"limits.{name}"), error
    assert allowed in error["allowed"], error


# What is asked for, (field, a part of given, a part of allowed).
CONTRADICTIONS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "more before slowing than at all": (
        {"limits": {"memory_high_bytes": 64 * MIB, "memory_max_bytes": 32 * MIB}},
        "limits.memory_high_bytes", str(64 * MIB), "at most memory_max_bytes",
    ),
    "an idle job with a weight": (
        {"limits": {"cpu_idle": True, "cpu_weight": 50}},
        "limits.cpu_weight", "50", "nothing, with cpu_idle",
    ),
    "a warning without a limit": (
        {"limits": {"warning_seconds": 5}}, "limits.warning_seconds", "5",
        "timeout_seconds with it",
    ),
    "a warning as long as the limit": (
        {"limits": {"warning_seconds": 5, "timeout_seconds": 5}},
        "limits.warning_seconds", "5", "less than timeout_seconds",
    ),
    "a signal without a warning": (
        {"limits": {"warning_signal": 10}}, "limits.warning_signal", "10", "warning_seconds",
    ),
    "an end for output without a limit": (
        {"limits": {"output_policy": "end"}}, "limits.output_policy", "end", "output_max_bytes",
    ),
    "blocked output without a limit": (
        {"limits": {"output_policy": "block"}}, "limits.output_policy", "block",
        "output_max_bytes",
    ),
    "an rlimit of no name": (
        {"limits": {"rlimits": {"files": [1, 1]}}}, "limits.rlimits", "files", "nofile",
    ),
    "an rlimit of one bound": (
        {"limits": {"rlimits": {"nofile": [1]}}}, "limits.rlimits", "[1]", "[soft, hard]",
    ),
    "a soft rlimit above the hard one": (
        {"limits": {"rlimits": {"nofile": [5, 4]}}}, "limits.rlimits.nofile", "[5, 4]", "up to",
    ),
    "an unlimited soft rlimit below a hard one": (
        {"limits": {"rlimits": {"nofile": [None, 4]}}}, "limits.rlimits.nofile", "None", "up to",
    ),
    "operations without a number": (
        {"limits": {"io": [{"path": "/", "read_operations_per_second": 0}]}},
        "limits.io[0].read_operations_per_second", "0", "1 to",
    ),
    "a sandbox of an array": ({"sandbox": []}, "sandbox", "[]", "object"),
    "an unknown field": ({"sandbox": {"fs": "host"}}, "sandbox.fs", "unknown", "filesystem"),
    "an unknown field of a bind": (
        {"sandbox": {"binds": [{"source": "/a", "target": "/a", "ro": True}]}},
        "sandbox.binds[0].ro", "unknown", "read_only",
    ),
    "a bind without a target": (
        {"sandbox": {"binds": [{"source": "/usr"}]}}, "sandbox.binds[0].target", "nothing",
        "required",
    ),
    "an unknown preset": ({"sandbox": {"preset": "safe"}}, "sandbox.preset", "safe", "untrusted"),
    "an unknown file mode": (
        {"sandbox": {"filesystem": "chroot"}}, "sandbox.filesystem", "chroot", "overlay",
    ),
    "a root mode without a root": (
        {"sandbox": {"filesystem": "root"}}, "sandbox.filesystem", "root", "root with it",
    ),
    "a root in another mode": (
        {"sandbox": {"filesystem": "overlay", "root": "/usr"}}, "sandbox.root", "/usr",
        "unless filesystem is root",
    ),
    "a relative root": ({"sandbox": {"root": "usr"}}, "sandbox.root", "usr", "absolute"),
    "changes of the host's tree kept": (
        {"sandbox": {"keep_changes": "/tmp"}}, "sandbox.keep_changes", "/tmp", "overlay or root",
    ),
    "the host's tree for a stranger": (
        {"sandbox": {"preset": "untrusted", "filesystem": "host"}}, "sandbox.filesystem", "host",
        "overlay",
    ),
    "a stranger without a user namespace": (
        {"sandbox": {"preset": "untrusted", "userns": False}}, "sandbox.userns", "False", "True",
    ),
    "a stranger with a capability": (
        {"sandbox": {"preset": "untrusted", "capabilities": ["NET_RAW"]}},
        "sandbox.capabilities", "NET_RAW", "none",
    ),
    "a stranger without a filter": (
        {"sandbox": {"preset": "untrusted", "seccomp": "none"}}, "sandbox.seccomp", "none",
        "default, strict or a profile of one's own, with preset untrusted",
    ),
    "a stranger in the host's network": (
        {"sandbox": {"preset": "untrusted"}, "network": "host"}, "network", "host",
        "none or private",
    ),
    "reports of no filter": (
        {"sandbox": {"seccomp": "none", "report_denied": True}}, "sandbox.seccomp", "none",
        "default, strict or a profile of one's own, with report_denied",
    ),
    "a filter by a relative path": (
        {"sandbox": {"seccomp": "my.json"}}, "sandbox.seccomp", "my.json", "absolute path",
    ),
    "a cover of everything": (
        {"sandbox": {"tmpfs": [{"path": "/"}]}}, "sandbox.tmpfs[0].path", "/", "below /",
    ),
    "a cover of everything with dots": (
        {"sandbox": {"tmpfs": [{"path": "//./"}]}}, "sandbox.tmpfs[0].path", "//./", "below /",
    ),
    "a way up out of the tree": (
        {"sandbox": {"binds": [{"source": "/usr", "target": "/a/../../b"}]}},
        "sandbox.binds[0].target", "..", "without ..",
    ),
    "a bind over /proc": (
        {"sandbox": {"binds": [{"source": "/usr", "target": "/proc/sys"}]}},
        "sandbox.binds[0].target", "/proc/sys", "outside of /proc",
    ),
    "a bind over /sys with dots": (
        {"sandbox": {"binds": [{"source": "/usr", "target": "/./sys//fs"}]}},
        "sandbox.binds[0].target", "sys", "outside of /proc",
    ),
    "hidden /": ({"sandbox": {"hide": ["/"]}}, "sandbox.hide[0]", "/", "below /"),
    "a relative place": ({"sandbox": {"hide": ["x"]}}, "sandbox.hide[0]", "x", "absolute"),
    "a NUL in a place": ({"sandbox": {"writable": ["/a\0b"]}}, "sandbox.writable[0]", "x00", "NUL"),
    "a long place": ({"sandbox": {"readable": ["/" * 4096]}}, "sandbox.readable[0]", "/", "4095"),
    "a small tmpfs": (
        {"sandbox": {"tmpfs": [{"path": "/t", "size_bytes": 1}]}},
        "sandbox.tmpfs[0].size_bytes", "1", "4096 to",
    ),
    "65 places": ({"sandbox": {"hide": ["/a"] * 65}}, "sandbox.hide", "[", "64"),
    "17 tmpfs": ({"sandbox": {"tmpfs": [{"path": "/t"}] * 17}}, "sandbox.tmpfs", "[", "16"),
    "a host name of two lines": (
        {"sandbox": {"hostname": "a\nb"}}, "sandbox.hostname", "n", "a host name",
    ),
    "a host name of 65": ({"sandbox": {"hostname": "a" * 65}}, "sandbox.hostname", "aaa", "64"),
    "no host name": ({"sandbox": {"hostname": ""}}, "sandbox.hostname", "''", "a host name"),
    "a capability that cannot be one": (
        {"sandbox": {"capabilities": ["../all"]}}, "sandbox.capabilities[0]", "../all",
        "",
    ),
    "a device that is none": (
        {"sandbox": {"devices": ["/etc/passwd"]}}, "sandbox.devices[0]", "/etc/passwd",
        "below /dev",
    ),
    "a device with odd rights": (
        {"sandbox": {"devices": ["/dev/null:x"]}}, "sandbox.devices[0]", ":x", ":rw",
    ),
    "two secrets of one name": (
        {"sandbox": {"secrets": [{"name": "a", "path": "/etc/hostname"}] * 2}},
        "sandbox.secrets[1].name", "a", "each name once",
    ),
    "a secret that leaves its directory": (
        {"sandbox": {"secrets": [{"name": "../a", "path": "/etc/hostname"}]}},
        "sandbox.secrets[0].name", "../a", "at most 64 letters",
    ),
    "no network with a port": (
        {"network": "none", "net": {"publish": [{"host_port": 8080, "port": 80}]}},
        "net.publish", "network none", "network private",
    ),
    "the host's network with a port": (
        {"network": "host", "net": {"publish": [{"host_port": 8080, "port": 80}]}},
        "net.publish", "network host", "network private",
    ),
    "no network with a name": (
        {"network": "none", "net": {"name": "lab"}}, "net.name", "network none", "private",
    ),
    "the host's network with a wall": (
        {"network": "host", "net": {"allow_egress": []}}, "net.allow_egress", "network host",
        "private",
    ),
    "no network with a bandwidth": (
        {"network": "none", "limits": {"net_egress_bits_per_second": 10**6}},
        "limits.net_egress_bits_per_second", "network none", "private",
    ),
    "the host's network with a bandwidth": (
        {"network": "host", "limits": {"net_ingress_bits_per_second": 10**6}},
        "limits.net_ingress_bits_per_second", "network host", "private",
    ),
    "port 0": (
        {"net": {"publish": [{"host_port": 0, "port": 80}]}}, "net.publish[0].host_port", "0",
        "1 to 65535",
    ),
    "port 65536": (
        {"net": {"publish": [{"host_port": 80, "port": 65536}]}}, "net.publish[0].port", "65536",
        "1 to 65535",
    ),
    "a port twice": (
        {"net": {"publish": [{"host_port": 8080, "port": 80}, {"host_port": 8080, "port": 81}]}},
        "net.publish[1].host_port", "8080", "each port once",
    ),
    "a port of an unknown protocol": (
        {"net": {"publish": [{"host_port": 80, "port": 80, "protocol": "sctp"}]}},
        "net.publish[0].protocol", "sctp", "tcp or udp",
    ),
    "a port at no address": (
        {"net": {"publish": [{"host_port": 80, "port": 80, "host_address": "localhost"}]}},
        "net.publish[0].host_address", "localhost", "IPv4",
    ),
    "a port at an address of IPv6": (
        {"net": {"publish": [{"host_port": 80, "port": 80, "host_address": "::1"}]}},
        "net.publish[0].host_address", "::1", "IPv4",
    ),
    "65 ports": (
        {"net": {"publish": [{"host_port": n, "port": n} for n in range(1, 66)]}},
        "net.publish", "[", "64",
    ),
    "a network of an odd name": ({"net": {"name": "../x"}}, "net.name", "../x", "at most 64"),
    "no group": ({"group": ""}, "group", "''", "a group"),
    "the number that means no group": ({"group": 2**32 - 1}, "group", "4294967295", "0 to"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "field", "given", "allowed"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys()
)
def test_what_contradicts_itself_is_refused_before_anything_is_created(
    daemon: Daemon, asked: dict[str, Any], field: str, given: str, allowed: str
) -> None:
    error = refused(daemon, asked)
    assert error["code"] == "invalid-argument", error
    assert error["field"].startswith(field), error
    assert given in error["given"], error
    assert allowed in error["allowed"], error


# What is asked for by alice, the field, a part of the text on it: only this host knows.
HERE: dict[str, tuple[dict[str, Any], str, str]] = {
    "a bind of what is not there": (
        {"sandbox": {"binds": [{"source": "/nowhere", "target": "/mnt"}]}},
        "sandbox.binds[0].source", "/nowhere",
    ),
    "a bind of what alice may not enter": (
        {"sandbox": {"binds": [{"source": "/root/x", "target": "/mnt"}]}},
        "sandbox.binds[0].source", "/root/x",
    ),
    "a bind through a link of /proc": (
        {"sandbox": {"binds": [{"source": "/proc/self/root/etc", "target": "/mnt"}]}},
        "sandbox.binds[0].source", "/proc/self/root",
    ),
    "a root that is not there": ({"sandbox": {"root": "/nowhere"}}, "sandbox.root", "/nowhere"),
    "a root that is closed": ({"sandbox": {"root": "/root/x"}}, "sandbox.root", "/root/x"),
    "changes kept where alice may not write": (
        {"sandbox": {"filesystem": "overlay", "keep_changes": "/etc"}},
        "sandbox.keep_changes", "/etc",
    ),
    "a secret that alice may not read": (
        {"sandbox": {"secrets": [{"name": "a", "path": "/etc/shadow"}]}},
        "sandbox.secrets[0].path", "/etc/shadow",
    ),
    "a secret that is a directory": (
        {"sandbox": {"secrets": [{"name": "a", "path": "/etc"}]}},
        "sandbox.secrets[0].path", "/etc",
    ),
    "a filter that is not there": (
        {"sandbox": {"seccomp": "/nowhere.json"}}, "sandbox.seccomp", "/nowhere.json",
    ),
    "a filter that is none": (
        {"sandbox": {"seccomp": "/etc/passwd"}}, "sandbox.seccomp", "/etc/passwd",
    ),
    "a device that is not there": (
        {"sandbox": {"devices": ["/dev/nowhere"]}}, "sandbox.devices[0]", "/dev/nowhere",
    ),
    "a hidden place that is not there": (
        {"sandbox": {"hide": ["/nowhere"]}}, "sandbox.hide[0]", "/nowhere",
    ),
    "a readable place that is not there": (
        {"sandbox": {"readable": ["/nowhere"]}}, "sandbox.readable[0]", "/nowhere",
    ),
    "a writable place that is not there": (
        {"sandbox": {"writable": ["/nowhere"]}}, "sandbox.writable[0]", "/nowhere",
    ),
    "a capability that there is not": (
        {"sandbox": {"capabilities": ["BE_NICE"]}}, "sandbox.capabilities[0]", "BE_NICE",
    ),
    "a capability that alice may not give": (
        {"sandbox": {"capabilities": ["SYS_ADMIN"]}}, "sandbox.capabilities[0]", "SYS_ADMIN",
    ),
    "a group that is not there": ({"group": "nobody-here"}, "group", "nobody-here"),
    "a group that is not alice's": ({"group": 0}, "group", "0"),
    "a CPU that is not there": ({"limits": {"cpu_set": "0,4095"}}, "limits.cpu_set", "4095"),
    "an address to reach that is none": (
        {"net": {"allow_egress": ["10.0.0.0/33"]}}, "net.allow_egress[0]", "10.0.0.0/33",
    ),
    "a port to reach that is none": (
        {"net": {"allow_egress": ["example.org:0"]}}, "net.allow_egress[0]", "example.org:0",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "field", "text"), HERE.values(), ids=HERE.keys())
def test_what_this_host_or_this_user_has_not_is_refused_before_anything_is_created(
    daemon: Daemon, asked: dict[str, Any], field: str, text: str
) -> None:
    error = refused(daemon, asked)
    assert error["code"] in ("invalid-argument", "not-permitted", "limit-unavailable"), error
    assert error["field"].startswith(field), error
    assert text in f"{error.get('given')} {error.get('detail')}", error


# --- runctl: the option is named ---

TYPED: dict[str, tuple[list[str], list[str]]] = {
    "a port without a network": (
        ["--net", "none", "--publish", "8080:80"], ["--publish", "--net none", "--net private"],
    ),
    "a port of the host's network": (
        ["--net", "host", "--publish", "8080:80"], ["--publish", "--net host"],
    ),
    "a wall without a network": (
        ["--net", "none", "--allow-egress", "10.0.0.0/8"], ["--allow-egress", "--net none"],
    ),
    "a name without a network": (
        ["--net", "host", "--network", "lab"], ["--network", "--net host"],
    ),
    "bandwidth without a network": (
        ["--net", "none", "--net-egress", "1mbit"], ["--net-egress", "--net none"],
    ),
    "a wall with a hole": (
        ["--allow-egress", "none,10.0.0.0/8"], ["--allow-egress", "none and '10.0.0.0/8'"],
    ),
    "an address that is no network": (
        ["--allow-egress", "10.0.0.1/8"], ["--allow-egress", "is no network", "10.0.0.0/8"],
    ),
    "slow bandwidth": (["--net-egress", "1kbit"], ["--net-egress", "1 kbit", "8 kbit"]),
    "bandwidth in bytes": (["--net-ingress", "10M"], ["--net-ingress", "10M", "10mbit"]),
    "a port of 99999": (["--publish", "99999:80"], ["--publish", "99999", "65535"]),
    "a warning after the end": (
        ["--timeout", "5s", "--warn", "10s"], ["--warn", "10 s", "--timeout"],
    ),
    "a warning of no end": (["--warn", "10s"], ["--warn", "allowed: --timeout with it"]),
    "a warning by no signal": (["--timeout", "5s", "--warn", "1s:NOPE"], ["--warn", "NOPE"]),
    "more before slowing": (["--mem", "32M", "--mem-high", "64M"], ["--mem-high", "--mem"]),
    "weight of an idle job": (["--cpu-idle", "--cpu-weight", "5"], ["--cpu-weight"]),
    "a weight of 0": (["--cpu-weight", "0"], ["--cpu-weight", "0", "10000"]),
    "an io weight of 10001": (["--io-weight", "10001"], ["--io-weight", "10001"]),
    "an odd cpuset": (["--cpuset", "3-1"], ["--cpuset", "3-1"]),
    "an unknown policy": (["--oom", "panic"], ["--oom", "panic", "continue"]),
    "an end for output without a limit": (
        ["--output-policy", "end"], ["--output-policy", "--output-max"],
    ),
    "little output": (["--output-max", "1K"], ["--output-max", "4 KiB"]),
    "little scratch": (["--scratch", "1K"], ["--scratch", "1 MiB"]),
    "an unknown rlimit": (["--rlimit", "files=5"], ["--rlimit", "files", "nofile"]),
    "a soft rlimit above the hard one": (["--rlimit", "nofile=9:5"], ["--rlimit nofile", "[9, 5]"]),
    "iops of zero": (["--io-read-iops", "/:0"], ["--io-read-iops", "0"]),
    "no time": (["--cpu-time", "0"], ["--cpu-time", "0"]),
    "a root in overlay mode": (["--fs", "overlay", "--root", "/usr"], ["--root", "--fs"]),
    "a root mode without a root": (["--fs", "root"], ["--fs", "allowed: --root with it"]),
    "kept changes of the host": (
        ["--keep-changes", "/tmp"], ["--keep-changes: '/tmp' given", "unless --fs is"],
    ),
    "a bind of a missing source": (["--bind", "/nowhere:/mnt"], ["--bind", "/nowhere"]),
    "a bind over /proc": (["--bind", "/usr:/proc/x"], ["--bind", "/proc/x"]),
    "a bind upwards": (["--bind", "/usr:/a/../b"], ["--bind", ".."]),
    "a closed bind": (["--bind", "/root/x:/mnt"], ["--bind", "/root/x"]),
    "a tmpfs of everything": (["--tmpfs", "/"], ["--tmpfs", "below /"]),
    "a hidden everything": (["--hide", "/"], ["--hide", ": '/' given"]),
    "a hidden nothing": (["--hide", "/nowhere"], ["--hide", "/nowhere"]),
    "a readable nothing": (["--ro", "/nowhere"], ["--ro", "/nowhere"]),
    "a writable nothing": (["--rw", "/nowhere"], ["--rw", "/nowhere"]),
    "an odd host name": (["--hostname", "a b"], ["--hostname", "a b"]),
    "a file as a device": (["--devices", "/etc/passwd"], ["--devices", "/etc/passwd"]),
    "somebody else's secret": (["--secret", "a=/etc/shadow"], ["--secret", "/etc/shadow"]),
    "a capability": (["--cap-add", "sys_admin"], ["--cap-add", "SYS_ADMIN"]),
    "no filter to report of": (["--seccomp", "none", "--report-denied"], ["--seccomp", "none"]),
    "a missing filter": (["--seccomp", "nowhere.json"], ["--seccomp", "/nowhere.json"]),
    "a stranger in the host's network": (
        ["--sandbox", "untrusted", "--net", "host"],
        ["--net", "host", "none or private, with --sandbox untrusted"],
    ),
    "a stranger in the host's tree": (
        ["--sandbox", "untrusted", "--fs", "host"],
        ["--fs", "host", "overlay or root, with --sandbox untrusted"],
    ),
    "a stranger without a filter": (
        ["--sandbox", "untrusted", "--seccomp", "none"],
        ["--seccomp", "none", "default, strict or", "with --sandbox untrusted"],
    ),
    "an unknown sandbox": (["--sandbox", "safe"], ["--sandbox", "safe", "untrusted"]),
    "an unknown group": (["--group", "nobody-here"], ["--group", "nobody-here"]),
    "root's group": (["--group", "0"], ["--group", "0"]),
}  # fmt: skip


@pytest.mark.parametrize(("words", "said"), TYPED.values(), ids=TYPED.keys())
def test_runctl_names_the_option_that_is_wrong(
    daemon: Daemon, words: list[str], said: list[str]
) -> None:
    done = daemon.runctl("run", *words, "--", "true", user="alice")
    assert done.returncode == 125, done
    assert done.stdout == ""
    for part in said:
        assert part in done.stderr, done.stderr
    # Words of the protocol; `sandbox.capabilities` is also a key of the configuration.
    for leaked in ("limits.", "sandbox.binds", "net.", "_bytes", ": b'", "Traceback", "defect"):
        assert leaked not in done.stderr, done.stderr
    assert existing(daemon) == ([], [], 0)


# --- update, pause, resume ---


def test_an_update_of_nothing_or_of_no_limit_is_refused(daemon: Daemon) -> None:
    for limits, field in (({}, "limits"), ({"mem": 1}, "limits.mem"), ([], "limits"),
                          (None, "limits")):  # fmt: skip
        error = refused(daemon, {"job": "x" * 8, "limits": limits}, "update")
        assert (error["code"], error["field"]) == ("invalid-argument", field), error


@pytest.mark.parametrize("op", ["update", "pause", "resume"])
def test_a_job_that_is_somebody_elses_or_over_is_not_touched(daemon: Daemon, op: str) -> None:
    more = {"limits": {"pids_max": 5}} if op == "update" else {}
    with Wire(daemon) as alice, Wire(daemon, "bob") as bob:
        job = alice.ok("submit", submission("sleep", "1000"))["job"]
        assert bob.error(op, job=job, **more) == bob.error(op, job="0" * 8, **more) | {
            "given": bob.error(op, job=job, **more)["given"]
        }
        assert alice.ok("status", job=job)["limits"].get("pids_max") != 5
        alice.ok("stop", job=job, kill=True)
        ended = alice.ok("wait", job=job)
        error = alice.error(op, job=job, **more)
        assert (error["code"], error["given"]) == ("job-state", "ended"), error
        assert error["detail"].startswith("it has ended; only "), error
        words = [op, job, *(["--pids", "5"] if op == "update" else [])]
        done = daemon.runctl(*words, user="alice")
        assert done.stderr.startswith(f"runctl: {job}: it has ended; only "), done
        assert alice.ok("status", job=job) == ended
        alice.ok("remove", job=job)
    assert existing(daemon) == ([], [], 0)


def test_a_limit_below_the_use_is_refused_with_the_figure(daemon: Daemon) -> None:
    with Wire(daemon) as wire:
        job = wire.ok("submit", submission("sh", "-c", "sleep 999 & sleep 999 & wait"))["job"]
        wait_until(lambda: len(_processes(daemon, job)) == 3)
        before = wire.ok("status", job=job)["limits"]
        error = wire.error("update", job=job, limits={"pids_max": 1, "cpu_max_millicpus": 500})
        assert (error["code"], error["field"]) == ("limit-below-use", "limits.pids_max"), error
        assert error["given"] == "1"
        assert "3" in error["detail"]
        # All or none: the other limit of the request is not there either.
        assert wire.ok("status", job=job)["limits"] == before
        done = daemon.runctl("update", job, "--pids", "1", user="alice")
        assert done.returncode == 125
        assert done.stderr.startswith("runctl: --pids: 1 given"), done.stderr
        wire.ok("stop", job=job, kill=True)
        wire.ok("wait", job=job)
        wire.ok("remove", job=job)


def _processes(daemon: Daemon, job: str) -> list[str]:
    try:
        path = f"{daemon.cgroup_root}/job-{job}/payload/cgroup.procs"
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []
