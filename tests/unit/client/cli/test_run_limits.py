"""The options for limits: each becomes its field, in `run` and in `update`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from client.cli.run import OPTIONS
from client.cli.run_limits import merge_io
from client.records import IoLimit, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon

    Runctl = Callable[..., tuple[int, str, str]]
    Submit = Callable[..., dict[str, Any]]
    Job = Callable[..., dict[str, Any]]

JOB_ID = "3f2a81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
MIB = 1024 * 1024
# Typed, and what it asks for.
ASKED: list[tuple[list[str], dict[str, Any]]] = [
    (["--mem", "256M"], {"memory_max_bytes": 256 * MIB}),
    (["--mem-high", "200M"], {"memory_high_bytes": 200 * MIB}),
    (["--swap", "0"], {"memory_swap_max_bytes": 0}),
    (["--oom", "continue"], {"oom_policy": "continue"}),
    (["--cpus", "1.5"], {"cpu_max_millicpus": 1500}),
    (["--cpu-weight", "50"], {"cpu_weight": 50}),
    (["--cpuset", "0-1,4"], {"cpu_set": "0-1,4"}),
    (["--cpu-idle"], {"cpu_idle": True}),
    (["--pids", "64"], {"pids_max": 64}),
    (["--io-weight", "10"], {"io_weight": 10}),
    (["--rlimit", "nofile=10:20", "--rlimit", "core=0"],
     {"rlimits": {"nofile": [10, 20], "core": [0, 0]}}),
    (["--timeout", "10m"], {"timeout_seconds": 600.0}),
    (["--warn", "30s"], {"warning_seconds": 30.0}),
    (["--warn", "30s:USR1"], {"warning_seconds": 30.0, "warning_signal": 10}),
    (["--cpu-time", "1m"], {"cpu_time_seconds": 60.0}),
    (["--output-max", "1M"], {"output_max_bytes": MIB}),
    (["--output-policy", "drop-oldest"], {"output_policy": "drop-oldest"}),
    (["--scratch", "64M"], {"scratch_max_bytes": 64 * MIB}),
    (["--net-egress", "10mbit"], {"net_egress_bits_per_second": 10_000_000}),
    (["--net-ingress", "500kbit"], {"net_ingress_bits_per_second": 500_000}),
    (["--io-read", "/srv:1M", "--io-write-iops", "/srv:20", "--io-read-iops", "/x:5"],
     {"io": [{"path": "/srv", "read_bytes_per_second": MIB, "write_operations_per_second": 20},
             {"path": "/x", "read_operations_per_second": 5}]}),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "limits"), ASKED, ids=lambda item: str(item)[:40])
def test_a_limit_that_is_typed_is_asked_for(
    submit: Submit, typed: list[str], limits: dict[str, Any]
) -> None:
    assert submit(*typed, "x")["limits"] == limits


@pytest.mark.parametrize(("typed", "limits"), ASKED, ids=lambda item: str(item)[:40])
def test_the_same_words_change_it(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job, typed: list[str], limits: dict[str, Any]
) -> None:
    daemon.answer("status", make_job(limits={}))
    daemon.answer("update", {"job": JOB_ID, "limits": limits})
    status, out, err = runctl("update", "build", *typed)
    assert (status, err) == (0, "")
    assert daemon.args("update")[0]["limits"] == limits
    assert len(out.splitlines()) >= 1
    assert json.loads(runctl("update", "--json", "build", *typed)[1]) == {"limits": limits}


def test_every_limit_can_be_typed_and_has_its_word() -> None:
    asked = {name for _, limits in ASKED for name in limits}
    assert asked == set(Limits.__annotations__)
    assert {f"limits.{name}" for name in Limits.__annotations__} <= set(OPTIONS)
    rates = set(IoLimit.__annotations__) - {"path", "devices"}
    assert {f"limits.io.{name}" for name in rates} <= set(OPTIONS)


@pytest.mark.parametrize(
    "word",
    [typed[0] for typed, _ in ASKED if typed[0] not in ("--cpu-idle", "--warn", "--io-read")],
)
def test_none_lifts_a_limit(runctl: Runctl, daemon: FakeDaemon, make_job: Job, word: str) -> None:
    daemon.answer("status", make_job(limits={"rlimits": {"core": [0, 0]}}))
    daemon.answer("update", {"job": JOB_ID, "limits": {}})
    assert runctl("update", "build", word, "none") == (0, "no limits\n", "")
    field = OPTIONS_BY_WORD[word].removeprefix("limits.")
    assert daemon.args("update")[0]["limits"] == {field: None}


OPTIONS_BY_WORD = {word: field for field, word in reversed(OPTIONS.items())}


def test_the_idle_class_and_the_warning_are_lifted_too(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("update", {"limits": {}})
    runctl("update", "build", "--no-cpu-idle", "--warn", "none")
    lifted = {"cpu_idle": None, "warning_seconds": None, "warning_signal": None}
    assert daemon.args("update")[0]["limits"] == lifted


def test_other_disks_and_rlimits_of_the_job_stay(
    runctl: Runctl, daemon: FakeDaemon, make_job: Job
) -> None:
    before = {
        "io": [
            {"path": "/a", "devices": ["8:0"], "read_bytes_per_second": MIB,
             "write_bytes_per_second": None},
            {"path": b"/\xff", "write_bytes_per_second": MIB},
        ],
        "rlimits": {"core": [0, 0], "nofile": [10, 20]},
    }  # fmt: skip
    daemon.answer("status", make_job(limits=before))
    daemon.answer("update", {"limits": {}})
    runctl("update", "build", "--io-write", "/a:2M", "--rlimit", "nofile=5")
    asked = daemon.args("update")[0]
    assert asked["job"] == JOB_ID
    assert asked["limits"] == {
        "io": [
            {"path": "/a", "read_bytes_per_second": MIB, "write_bytes_per_second": 2 * MIB},
            {"path": b"/\xff", "write_bytes_per_second": MIB},
        ],
        "rlimits": {"core": [0, 0], "nofile": [5, 5]},
    }
    runctl("update", "build", "--io-write", "none")
    assert daemon.args("update")[1]["limits"] == {
        "io": [{"path": "/a", "read_bytes_per_second": MIB}]
    }
    runctl("update", "build", "--io-write", "none", "--io-read", "none", "--rlimit", "none")
    assert daemon.args("update")[2]["limits"] == {"io": None, "rlimits": None}


def test_an_update_of_nothing_is_wrong_usage(runctl: Runctl, daemon: FakeDaemon) -> None:
    status, out, err = runctl("update", "build")
    assert (status, out) == (125, "")
    assert "no limit given" in err
    assert not daemon.args("update")


def test_the_priority_alone_can_be_changed(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("update", {"limits": {"pids_max": 5}})
    assert runctl("update", "build", "--priority", "-3") == (0, "priority -3\nprocesses 5\n", "")
    assert daemon.args("update") == [{"job": "build", "limits": {}, "priority": -3}]
    out = runctl("update", "build", "--priority", "0", "--json")[1]
    assert json.loads(out) == {"limits": {"pids_max": 5}, "priority": 0}
    daemon.refuse("update", "not-permitted", field="priority", given="5", detail="0 at most")
    assert runctl("update", "build", "--priority", "5")[2] == (
        "runctl: --priority: 5 given; 0 at most\n"
    )


def test_a_refused_update_names_the_option_or_the_job(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.refuse(
        "update", "limit-below-use", field="limits.pids_max", given="3", detail="it has 7 now"
    )
    assert runctl("update", "build", "--pids", "3") == (
        125, "", "runctl: --pids: 3 given; it has 7 now\n",
    )  # fmt: skip
    daemon.refuse("update", "job-state", given="ended")
    assert runctl("update", "build", "--pids", "3")[2] == (
        "runctl: build: the job is not in a state for that; it is ended\n"
    )
    daemon.refuse("update", "no-such-job")
    assert runctl("update", "build", "--pids", "3")[2].startswith("runctl: build: no job")


def test_rates_of_one_path_are_one_entry_and_the_last_counts() -> None:
    typed = {"io_read": [("/a", 1), ("/a", 2)], "io_write": [("/b", 3), ("/a", 4)],
             "io_read_iops": [], "io_write_iops": []}  # fmt: skip
    assert merge_io([], typed) == [
        {"path": "/a", "read_bytes_per_second": 2, "write_bytes_per_second": 4},
        {"path": "/b", "write_bytes_per_second": 3},
    ]


WRONG = {
    "--mem": ["12Q", "none", "", "-1"],
    "--mem-high": ["12Q", "none"],
    "--swap": ["12Q", "none", "-1"],
    "--oom": ["panic", "none", ""],
    "--cpus": ["0", "x", "none"],
    "--cpu-weight": ["x", "1.5", "none"],
    "--pids": ["x", "none", ""],
    "--io-read": ["/srv", "none"],
    "--io-write": ["10M", "none"],
    "--io-read-iops": ["/srv:1M", "none"],
    "--io-write-iops": ["/srv", "none"],
    "--io-weight": ["x", "none"],
    "--rlimit": ["nofile", "none", "nofile=x"],
    "--timeout": ["-5", "none", "0"],
    "--warn": ["30s:NOPE", "none", ":USR1"],
    "--cpu-time": ["x", "none", "0"],
    "--output-max": ["12Q", "none"],
    "--output-policy": ["panic", "none"],
    "--scratch": ["12Q", "none"],
    "--net-egress": ["10M", "none", "10"],
    "--net-ingress": ["x", "none"],
}


@pytest.mark.parametrize(
    ("word", "text"), [(w, text) for w, all_ in WRONG.items() for text in all_]
)
def test_a_limit_that_cannot_be_read_is_refused_by_its_option(
    runctl: Runctl, daemon: FakeDaemon, word: str, text: str
) -> None:
    status, out, err = runctl("run", f"{word}={text}", "x")
    assert (status, out) == (125, "")
    assert f"'{word}'" in err
    assert "allowed" in err or "is not one of" in err
    assert not daemon.seen
    if text != "none":
        status, out, err = runctl("update", "build", f"{word}={text}")
        assert (status, out) == (125, "")
        assert f"'{word}'" in err


@pytest.mark.parametrize("field", [field for field in OPTIONS if field.startswith("limits.")])
def test_a_refusal_by_the_daemon_names_the_option(
    daemon: FakeDaemon, runctl: Runctl, field: str
) -> None:
    sent = field.replace("limits.io.", "limits.io[0].")
    daemon.refuse("submit", "invalid-argument", field=sent, given="x", allowed="y")
    err = runctl("run", "-d", "x")[2]
    assert err.startswith(f"runctl: {OPTIONS[field]}: x given"), err


def test_a_refused_rlimit_is_named_with_its_name(daemon: FakeDaemon, runctl: Runctl) -> None:
    daemon.refuse("submit", "invalid-argument", field="limits.rlimits.nofile", given="x")
    assert runctl("run", "--rlimit", "nofile=5", "x")[2] == "runctl: --rlimit nofile: x given\n"
