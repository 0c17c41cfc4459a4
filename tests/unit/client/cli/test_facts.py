"""Limits, surroundings and figures, a line a fact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from client.cli import facts
from client.records import IoLimit, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[..., Any]

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        ({"memory_max_bytes": 256 * MIB}, "memory 256 MiB"),
        ({"memory_high_bytes": 200 * MIB}, "memory, slowed down above 200 MiB"),
        ({"memory_swap_max_bytes": 0}, "swap 0 B"),
        ({"oom_policy": "continue"}, "out of memory: one process is killed"),
        ({"oom_policy": "kill"}, "out of memory: the whole job is killed"),
        ({"cpu_max_millicpus": 1500}, "CPUs 1.5"),
        ({"cpu_weight": 50}, "CPU weight 50"),
        ({"cpu_set": "0-1,4"}, "CPUs numbered 0-1,4"),
        ({"cpu_idle": True}, "CPU only when nobody else wants it"),
        ({"pids_max": 64}, "processes 64"),
        ({"io_weight": 10}, "IO weight 10"),
        ({"timeout_seconds": 600.0}, "time 10 min"),
        ({"warning_seconds": 30.0}, "warning 30 s before the time limit"),
        (
            {"warning_seconds": 30.0, "warning_signal": 10},
            "warning 30 s before the time limit with signal 10 (SIGUSR1)",
        ),
        ({"cpu_time_seconds": 60.0}, "CPU time 1 min"),
        ({"output_max_bytes": MIB}, "output 1 MiB"),
        ({"output_policy": "drop-oldest"}, "output policy drop-oldest"),
        ({"scratch_max_bytes": 64 * MIB}, "scratch space 64 MiB"),
        ({"net_egress_bits_per_second": 10_000_000}, "network sending 10 Mbit/s"),
        ({"net_ingress_bits_per_second": 8_000}, "network receiving 8 kbit/s"),
        ({"rlimits": {"nofile": [1024, 1024]}}, "rlimit nofile 1024"),
        ({"rlimits": {"stack": [MIB, None]}}, "rlimit stack 1 MiB, hard unlimited"),
        (
            {"io": [{"path": b"/s\xff", "read_bytes_per_second": 10 * MIB, "devices": ["8:0"]}]},
            "IO of /s\\xff (device 8:0): read 10 MiB/s",
        ),
        (
            {"io": [{"path": "/s", "devices": ["8:0", "8:16"], "write_bytes_per_second": MIB,
                     "read_operations_per_second": 100, "write_operations_per_second": 5}]},
            ("IO of /s (devices 8:0, 8:16): write 1 MiB/s, read 100 operations/s, "
             "write 5 operations/s"),
        ),
    ],
)  # fmt: skip
def test_a_limit_is_a_line(limits: Limits, line: str) -> None:
    assert facts.limit_lines(limits) == [line]


def test_every_limit_there_is_has_its_words() -> None:
    io: IoLimit = {"path": "/"}
    figures: dict[str, Any] = dict.fromkeys(Limits.__annotations__, 1)
    figures |= {"rlimits": {"core": [0, 0]}, "io": [io], "cpu_set": "0", "oom_policy": "kill",
                "output_policy": "end"}  # fmt: skip
    everything: Any = figures
    # The warning and its signal are one line.
    assert len(facts.limit_lines(everything)) == len(Limits.__annotations__) - 1


def test_no_limits_are_no_lines() -> None:
    assert facts.limit_lines({"cpu_idle": False, "io": [], "rlimits": {}}) == []


@pytest.mark.parametrize(
    ("logs", "lines"),
    [
        ({}, []),
        (
            {"segment_bytes": 16 * MIB, "keep_bytes": 1024 * MIB, "keep_segments": 1024,
             "compression": "none", "on_full": "wait"},
            ["segments of 16 MiB, at most 1024 of them, 1 GiB in all",
             "on a full disk the job waits for room"],
        ),
        (
            {"segment_bytes": MIB, "compression": "zstd", "on_full": "drop"},
            ["segments of 1 MiB", "complete segments compressed with zstd",
             "on a full disk output is dropped and counted"],
        ),
        ({"on_full": "end"}, ["on a full disk the job is ended"]),
        # What a later daemon may know.
        ({"on_full": "a\x1b", "compression": "b\x1b"},
         ["complete segments compressed with b\\x1b", "on a full disk a\\x1b"]),
    ],
)  # fmt: skip
def test_how_a_log_is_kept_is_a_few_lines(logs: Any, lines: list[str]) -> None:
    assert facts.log_lines(logs, {}) == lines


def test_what_a_limit_says_of_the_log_is_said_once() -> None:
    logs: Any = {"segment_bytes": MIB, "keep_bytes": 1024 * MIB, "keep_segments": 9}
    newest, everything = {"output_max_bytes": 1}, {"output_max_bytes": 1, "output_policy": "end"}
    assert facts.log_lines(logs, {**newest}) == ["segments of 1 MiB, at most 9 of them"]
    assert facts.log_lines(logs, {**everything}) == ["segments of 1 MiB"]


def test_dropped_output_is_a_figure_only_where_there_was_some() -> None:
    assert facts.figures({"log_bytes": 5, "log_dropped_bytes": 0}) == ["output 5 B"]
    assert facts.figures({"log_dropped_bytes": 70_000}) == ["output dropped 68.4 KiB"]


def test_surroundings_of_an_ordinary_job_are_few_lines(make_job: Job) -> None:
    assert facts.surroundings(make_job()) == [("network", "none")]
    sandbox = {"filesystem": "host", "seccomp": "default", "hostname": "job-3f2a81c0",
               "root": None, "binds": [], "userns": False}  # fmt: skip
    assert facts.surroundings(make_job(sandbox=sandbox, net={"name": None, "publish": []})) == [
        ("files", "host"),
        ("privileges", "seccomp default"),
        ("privileges", "host name job-3f2a81c0"),
        ("network", "none"),
    ]


@pytest.mark.parametrize(
    ("sandbox", "reached"),
    [
        ({"preset": "untrusted"}, "programs and its own places"),
        ({"preset": "untrusted", "filesystem": "root"}, "its root"),
        ({"readable": ["/m"]}, "listed paths, programs and its own places"),
        ({"writable": ["/m"]}, "listed paths, programs and its own places"),
    ],
)
def test_a_job_that_landlock_confines_is_shown_as_such(
    make_job: Job, sandbox: dict[str, Any], reached: str
) -> None:
    empty = {"preset": None, "readable": [], "writable": [], "seccomp": "strict"}
    found = facts.surroundings(make_job(sandbox={**empty, **sandbox}))
    assert ("privileges", f"Landlock: {reached} only") in found
    assert "Landlock" not in str(facts.surroundings(make_job(sandbox=empty)))


def test_everything_that_was_asked_of_the_surroundings_is_shown(make_job: Job) -> None:
    sandbox = {
        "preset": "untrusted",
        "filesystem": "root",
        "root": b"/img\xff",
        "keep_changes": "/kept",
        "readable": ["/usr"],
        "writable": [f"/w{n}" for n in range(10)],
        "binds": [
            {"source": "/a", "target": "/a", "read_only": True},
            {"source": "/a", "target": "/b\x1b"},
        ],
        "tmpfs": [{"path": "/t", "size_bytes": MIB}, {"path": "/u", "size_bytes": None}],
        "hide": ["/root"],
        "hostname": "h",
        "userns": True,
        "capabilities": ["NET_RAW"],
        "seccomp": "strict",
        "report_denied": True,
        "devices": ["/dev/fuse:rw"],
        "secrets": [{"name": "key", "path": "/etc/key"}],
    }
    net = {
        "name": "lab",
        "address": "10.213.0.2",
        "publish": [
            {"host_port": 8080, "port": 80},
            {"host_port": 53, "port": 5353, "protocol": "udp", "host_address": "127.0.0.1"},
        ],
        "allow_egress": ["10.0.0.0/8", "example.org:443"],
    }
    found = facts.surroundings(make_job(sandbox=sandbox, net=net, network="private"))
    assert found == [
        ("files", "root /img\\xff"),
        ("files", "changes kept in /kept"),
        ("files", "bind /a, read-only"),
        ("files", "bind /a at /b\\x1b"),
        ("files", "empty /t of 1 MiB, /u"),
        ("files", "hidden /root"),
        ("files", "readable /usr"),
        ("files", "writable /w0, /w1, /w2, /w3, /w4, /w5, /w6, /w7 and 2 more"),
        ("files", "devices /dev/fuse:rw"),
        ("files", "secret key from /etc/key"),
        ("privileges", "preset untrusted"),
        ("privileges", "seccomp strict, refusals reported"),
        ("privileges", "Landlock: listed paths, programs and its own places only"),
        ("privileges", "user namespace of its own"),
        ("privileges", "capabilities NET_RAW"),
        ("privileges", "host name h"),
        ("network", "private lab, address 10.213.0.2"),
        ("network", "port 8080 of the host is its 80 (tcp)"),
        ("network", "port 127.0.0.1:53 of the host is its 5353 (udp)"),
        ("network", "reaches 10.0.0.0/8, example.org:443 and nothing else"),
    ]


def test_a_job_that_may_reach_nothing_says_so(make_job: Job) -> None:
    found = facts.surroundings(make_job(net={"allow_egress": []}, network="private"))
    assert found == [("network", "private"), ("network", "reaches nothing")]


def test_figures_that_say_nothing_are_left_out() -> None:
    zeros = {"paused_ns": 0, "throttled_usec": 0, "memory_high_hits": 0, "cpu_pressure_usec": 0,
             "oom_kills": 0, "denied": []}  # fmt: skip
    assert facts.figures(zeros) == ["processes killed for memory 0"]
    felt = {"paused_ns": 1_500_000_000, "throttled_usec": 2_000_000, "memory_high_hits": 3,
            "cpu_pressure_usec": 1_000_000, "memory_pressure_usec": 500_000,
            "io_pressure_usec": 250_000, "denied": [{"syscall": "mount", "count": 2}]}  # fmt: skip
    assert facts.figures(felt) == [
        "paused 1.5 s",
        "throttled at its CPU limit 2 s",
        "waited for a CPU 1 s",
        "slowed down for memory, times 3",
        "waited for memory 0.5 s",
        "waited for disks 0.25 s",
        "refused system calls mount \u00d72",
    ]
