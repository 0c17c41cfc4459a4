"""What a job is, written once: a request, the submitter's credentials, and the defaults."""

from __future__ import annotations

import msgspec
import pytest

from runner import messages, parsing, records, spec, stored
from runner.config import Config, JobsConfig, LogsConfig
from runner.lifecycle import State
from runner.rows import Job
from runner.users import Account

ACCOUNT = Account(1000, 100, (100, 27), "alice")
JOB = "3f2a0000-0000-4000-8000-000000000001"


PLAIN = {
    "preset": None, "filesystem": "host", "root": None, "keep_changes": None, "readable": [],
    "writable": [], "binds": [], "tmpfs": [], "hide": [], "hostname": f"job-{JOB[:8]}",
    "userns": False, "capabilities": [], "seccomp": b"default", "seccomp_program": None,
    "report_denied": False, "devices": [], "secrets": [],
}  # fmt: skip


def row(packed: bytes, uid: int = 1000, gid: int = 100) -> Job:
    """The row of the job that the spec was committed with."""
    return Job(
        seq=1, id=JOB, submitted_by_uid=uid, uid=uid, gid=gid, name=None, state=State.QUEUED,
        submitted_ns=1, started_ns=None, ended_ns=None, boot_id=None, monitor_pid=None,
        limits=None, reason=None, result=None, spec=packed,
    )  # fmt: skip


def built(config: Config | None = None, **request: object) -> dict[str, object]:
    args = {"argv": ["true"], "cwd": "/", **request}
    return spec.build(JOB, parsing.parse(messages.Submit, args), ACCOUNT, config or Config())


def test_a_spec_holds_everything_that_a_monitor_needs() -> None:
    config = msgspec.structs.replace(
        Config(),
        jobs=JobsConfig(stop_grace_seconds=3.5),
        logs=LogsConfig(
            segment_bytes=4096, keep_bytes=8192, keep_segments=7, compression="zstd", on_full="end"
        ),
    )
    assert built(
        config,
        argv=["a", b"b\xff"],
        env={"K": "v", "caf\xe9": b"\xff"},
        cwd="/tmp",
        umask=0o077,
        network="host",
        limits={"timeout_seconds": 5},
    ) == {
        "job": JOB,
        "argv": [b"a", b"b\xff"],
        "env": {b"K": b"v", "caf\xe9".encode(): b"\xff"},
        "cwd": b"/tmp",
        "umask": 0o077,
        "network": "host",
        "uid": 1000,
        "gid": 100,
        "groups": [100, 27],
        "user": "alice",
        "limits": {"pids_max": 4096, "timeout_seconds": 5},
        "net": {"name": None, "publish": [], "allow_egress": None},
        "sandbox": PLAIN,
        "stop_grace_seconds": 3.5,
        "logs": {
            "segment_bytes": 4096,
            "keep_bytes": 8192,
            "keep_segments": 7,
            "compression": "zstd",
            "on_full": "end",
        },
        "retry": None,
        "deadline_ns": None,
    }


def test_how_a_job_is_tried_again_is_written_down_whole() -> None:
    assert built(retry={"limit": 2})["retry"] == {
        "limit": 2,
        "backoff_seconds": 0.0,
        "backoff_max_seconds": None,
        "on": ["exit", "signal", "oom", "timeout", "lost"],
        "rules": [],
    }
    rule = {"reason": "oom", "memory_factor": 1.5}
    asked = {"limit": 1, "on": ["oom"], "rules": [rule], "backoff_max_seconds": 9}
    assert built(retry=asked)["retry"] == {
        "limit": 1,
        "backoff_seconds": 0.0,
        "backoff_max_seconds": 9.0,
        "on": ["oom"],
        "rules": [
            {
                "reason": "oom",
                "limit": None,
                "memory_factor": 1.5,
                "memory_max_bytes": None,
                "timeout_factor": None,
                "timeout_max_seconds": None,
            }
        ],
    }


def test_what_a_job_asks_of_its_log_wins_over_the_configuration() -> None:
    logs = {
        "segment_bytes": 8192, "keep_segments": 2, "compression": "zstd", "on_full": "drop",
    }  # fmt: skip
    assert built(logs=logs)["logs"] == {**logs, "keep_bytes": 2**30}
    assert built(logs={"on_full": "end"})["logs"] == {
        "segment_bytes": 2**24, "keep_bytes": 2**30, "keep_segments": 1024,
        "compression": "none", "on_full": "end",
    }  # fmt: skip


def test_what_is_asked_for_wins_over_the_defaults_and_they_fill_the_rest() -> None:
    jobs = JobsConfig(default_memory_max=2**30, default_pids_max=10)
    config = msgspec.structs.replace(Config(), jobs=jobs)
    assert built(config)["limits"] == {"memory_max_bytes": 2**30, "pids_max": 10}
    limits = {"memory_max_bytes": 2**23, "pids_max": 7, "cpu_max_millicpus": 500}
    assert built(config, limits=limits)["limits"] == limits


def test_a_default_of_zero_processes_means_no_limit_of_them() -> None:
    config = msgspec.structs.replace(Config(), jobs=JobsConfig(default_pids_max=0))
    assert built(config)["limits"] == {}


def test_io_limits_keep_their_path_as_bytes_and_only_the_rates_that_were_given() -> None:
    io = [
        {"path": "/a", "read_bytes_per_second": 4096},
        {"path": b"/\xff", "write_bytes_per_second": 8192, "read_bytes_per_second": None},
    ]
    limits = built(limits={"io": io})["limits"]
    assert isinstance(limits, dict)
    assert limits["io"] == [
        {"path": b"/a", "read_bytes_per_second": 4096},
        {"path": b"/\xff", "write_bytes_per_second": 8192},
    ]


def test_a_spec_survives_its_way_to_the_monitor() -> None:
    whole = built(argv=["x", b"\xff\0"[:1]], env={"A": b"\xfe"}, limits={"timeout_seconds": 0.5})
    assert stored.spec(row(spec.pack(whole))) == {"version": records.VERSION, **whole}


def test_a_torn_spec_is_refused() -> None:
    with pytest.raises(records.RecordError):
        stored.spec(row(spec.pack(built())[:-1]))


def test_the_largest_request_makes_a_spec_that_a_monitor_reads_whole() -> None:
    arguments = ["x" * 100] * 4096
    environment = {f"{n:04}": "y" * 140 for n in range(4096)}
    packed = spec.pack(built(argv=arguments, env=environment))
    assert len(packed) < records.MAX_SPEC_BYTES


def test_surroundings_are_complete_and_in_bytes() -> None:
    sandbox = built(
        sandbox={
            "filesystem": "overlay",
            "binds": [{"source": "/a", "target": b"/\xff", "read_only": True}],
            "tmpfs": [{"path": "/t", "size_bytes": 4096}],
            "capabilities": ["CAP_KILL", "CHOWN"],
            "secrets": [{"name": "s", "path": "/p"}],
            "seccomp": "/profile.json",
            "hostname": "box",
        }
    )["sandbox"]
    assert sandbox == {
        **PLAIN,
        "filesystem": "overlay",
        "binds": [[b"/a", b"/\xff", True]],
        "tmpfs": [[b"/t", 4096]],
        "capabilities": ["KILL", "CHOWN"],
        "secrets": [["s", b"/p"]],
        "seccomp": b"/profile.json",
        "hostname": "box",
    }


def test_a_root_means_its_mode() -> None:
    sandbox = built(sandbox={"root": "/srv/root"})["sandbox"]
    assert isinstance(sandbox, dict)
    assert (sandbox["filesystem"], sandbox["root"]) == ("root", b"/srv/root")


@pytest.mark.parametrize(
    ("request_", "network"),
    [
        ({}, "none"),
        ({"network": "host"}, "host"),
        ({"network": "private"}, "private"),
        ({"net": {"publish": [{"host_port": 1, "port": 2}]}}, "private"),
        ({"net": {"name": "x"}}, "private"),
        ({"net": {"allow_egress": []}}, "private"),
        ({"limits": {"net_ingress_bits_per_second": 10**6}}, "private"),
    ],
)
def test_what_only_a_private_network_can_give_means_one(
    request_: dict[str, object], network: str
) -> None:
    assert built(**request_)["network"] == network


def test_a_spec_of_an_older_runnerd_gets_the_surroundings_of_its_time() -> None:
    old = {name: value for name, value in built().items() if name not in {"sandbox", "net"}}
    read = stored.spec(row(spec.pack(old)))
    assert (read["sandbox"]["filesystem"], read["sandbox"]["seccomp"]) == ("host", b"none")
    assert read["net"] == {"name": None, "publish": [], "allow_egress": None}


def test_the_map_of_a_new_spec_is_known_for_the_row_that_has_it_and_for_no_other() -> None:
    made = built()
    job = row(spec.pack(made))
    assert spec.known(job) is made
    # Read again, or changed: the same bytes are not enough, for they say nothing of when.
    assert spec.known(msgspec.structs.replace(job, spec=bytes(bytearray(job.spec)))) is None
    assert spec.known(msgspec.structs.replace(job, deadline_ns=5)) is None
    assert spec.known(msgspec.structs.replace(job, id="another")) is None


def test_the_map_of_a_new_spec_says_what_is_read_back() -> None:
    made = built(env={"A": b"\xff"}, limits={"rlimits": {"nofile": [10, 20]}}, net={}, logs={})
    job = row(spec.pack(made))
    kept = spec.known(job)
    assert kept is not None
    assert records.unpack(stored.pack_spec(kept)) == records.unpack(
        stored.pack_spec(stored.spec(job))
    )


def test_only_the_newest_and_the_small_ones_are_kept() -> None:
    jobs = [row(spec.pack({**built(), "job": str(number)})) for number in range(1000)]
    named = [msgspec.structs.replace(job, id=str(number)) for number, job in enumerate(jobs)]
    assert 0 < sum(spec.known(job) is not None for job in named) < 100
    assert spec.known(named[-1]) is not None
    assert spec.known(row(spec.pack(built(env={"A": "b" * 100_000})))) is None
