"""Contradictions and limits over several fields: refused with the field that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from client.protocol import MAX_ARGUMENT_BYTES
from runner import message_checks, messages
from runner.message_logs import LogsRequest
from runner.parsing import parse
from runner.refusal import Refusal

JOB = {"argv": ["true"], "cwd": "/"}


def submitted(**fields: Any) -> messages.Submit:
    return parse(messages.Submit, {**JOB, **fields})


def field_of(kind: type[Any], args: dict[str, Any]) -> str:
    with pytest.raises(Refusal) as caught:
        parse(kind, args)
    assert caught.value.code == "invalid-argument"
    assert caught.value.fields["given"]
    assert caught.value.fields["allowed"]
    return str(caught.value.fields["field"])


LIMITS: list[tuple[dict[str, Any], str]] = [
    ({"memory_high_bytes": 2**30, "memory_max_bytes": 2**29}, "memory_high_bytes"),
    ({"memory_swap_max_bytes": -1}, "memory_swap_max_bytes"),
    ({"oom_policy": "spare"}, "oom_policy"),
    ({"cpu_weight": 0}, "cpu_weight"),
    ({"cpu_weight": 10_001}, "cpu_weight"),
    ({"cpu_idle": True, "cpu_weight": 5}, "cpu_weight"),
    ({"cpu_idle": 1}, "cpu_idle"),
    ({"cpu_set": "3-1"}, "cpu_set"),
    ({"cpu_set": "a"}, "cpu_set"),
    ({"cpu_set": "0,,1"}, "cpu_set"),
    ({"cpu_set": "0\n"}, "cpu_set"),
    ({"io": [{"path": "/"}]}, "io[0]"),
    ({"io": [{"path": "x", "read_operations_per_second": 1}]}, "io[0].path"),
    ({"io": [{"path": "/", "read_operations_per_second": 0}]}, "io[0].read_operations_per_second"),
    ({"io_weight": 0}, "io_weight"),
    ({"rlimits": {"bogus": [1, 2]}}, "rlimits"),
    ({"rlimits": {"nofile": [2, 1]}}, "rlimits.nofile"),
    ({"rlimits": {"nofile": [None, 1]}}, "rlimits.nofile"),
    ({"rlimits": {"nofile": [1]}}, "rlimits[...]"),
    ({"rlimits": {"nofile": [-1, 1]}}, "rlimits[...][0]"),
    ({"cpu_time_seconds": 0}, "cpu_time_seconds"),
    ({"warning_seconds": 5}, "warning_seconds"),
    ({"warning_seconds": 5, "timeout_seconds": 5}, "warning_seconds"),
    ({"warning_signal": 10}, "warning_signal"),
    ({"warning_signal": 65, "warning_seconds": 1, "timeout_seconds": 5}, "warning_signal"),
    ({"output_policy": "end"}, "output_policy"),
    ({"output_policy": "block"}, "output_policy"),
    ({"output_policy": "lose", "output_max_bytes": 5000}, "output_policy"),
    ({"output_max_bytes": 4095}, "output_max_bytes"),
    ({"scratch_max_bytes": 2**20 - 1}, "scratch_max_bytes"),
    ({"net_egress_bits_per_second": 7999}, "net_egress_bits_per_second"),
]


@pytest.mark.parametrize(("limits", "field"), LIMITS, ids=str)
def test_a_wrong_limit_is_refused_by_its_name(limits: dict[str, Any], field: str) -> None:
    assert field_of(messages.Submit, {**JOB, "limits": limits}) == f"limits.{field}"


def test_limits_that_fit_together_are_taken() -> None:
    limits = {
        "memory_max_bytes": 2**30, "memory_high_bytes": 2**29, "memory_swap_max_bytes": 0,
        "oom_policy": "continue", "cpu_weight": 10_000, "cpu_set": "0-3,8", "io_weight": 1,
        "rlimits": {"nofile": [10, 20], "core": [0, None], "stack": [None, None]},
        "cpu_time_seconds": 1.5, "timeout_seconds": 10, "warning_seconds": 9.9,
        "warning_signal": 10, "output_max_bytes": 4096, "output_policy": "end",
        "scratch_max_bytes": 2**20,
        "io": [{"path": "/", "write_operations_per_second": 1}],
    }  # fmt: skip
    parsed = submitted(limits=limits).limits
    assert parsed.rlimits == limits["rlimits"]
    assert (parsed.cpu_set, parsed.warning_seconds) == ("0-3,8", 9.9)


LOGS: list[tuple[dict[str, Any], str]] = [
    ({"segment_bytes": 4095}, "segment_bytes"),
    ({"segment_bytes": 2**40 + 1}, "segment_bytes"),
    ({"keep_segments": 1}, "keep_segments"),
    ({"keep_segments": 4097}, "keep_segments"),
    ({"compression": "gzip"}, "compression"),
    ({"on_full": "panic"}, "on_full"),
    ({"keep_bytes": 4096}, "keep_bytes"),
]


@pytest.mark.parametrize(("logs", "field"), LOGS, ids=str)
def test_a_wrong_wish_for_the_log_is_refused_by_its_name(logs: dict[str, Any], field: str) -> None:
    assert field_of(messages.Submit, {**JOB, "logs": logs}) == f"logs.{field}"


@pytest.mark.parametrize("policy", ["block", "end"])
def test_where_all_output_is_kept_no_number_of_segments_can_be_asked_for(policy: str) -> None:
    limits = {"output_max_bytes": 4096, "output_policy": policy}
    asked = {**JOB, "limits": limits, "logs": {"keep_segments": 2}}
    assert field_of(messages.Submit, asked) == "logs.keep_segments"
    assert submitted(limits=limits, logs={"segment_bytes": 4096}).logs.segment_bytes == 4096


def test_wishes_for_the_log_are_taken_up_to_their_bounds() -> None:
    most: Any = {
        "segment_bytes": 2**40,
        "keep_segments": 4096,
        "compression": "zstd",
        "on_full": "end",
    }
    assert submitted(logs=most).logs == LogsRequest(**most)
    least: Any = {"segment_bytes": 4096, "keep_segments": 2, "compression": None, "on_full": "drop"}
    assert submitted(logs=least).logs == LogsRequest(**least)


SANDBOXES: list[tuple[dict[str, Any], str]] = [
    ({"preset": "trusted"}, "preset"),
    ({"filesystem": "tree"}, "filesystem"),
    ({"filesystem": "root"}, "filesystem"),
    ({"root": "x"}, "root"),
    ({"root": "/x", "filesystem": "overlay"}, "root"),
    ({"keep_changes": "/x"}, "keep_changes"),
    ({"keep_changes": "/x", "filesystem": "readonly"}, "keep_changes"),
    ({"keep_changes": "x", "filesystem": "overlay"}, "keep_changes"),
    ({"binds": [{"source": "x", "target": "/y"}]}, "binds[0].source"),
    ({"binds": [{"source": "/x", "target": "/"}]}, "binds[0].target"),
    ({"binds": [{"source": "/x", "target": "/a/../.."}]}, "binds[0].target"),
    ({"binds": [{"source": "/x", "target": "/proc/sys"}]}, "binds[0].target"),
    ({"binds": [{"source": "/x", "target": "/sys"}]}, "binds[0].target"),
    ({"binds": [{"source": "/x"}]}, "binds[0].target"),
    ({"binds": [{"source": "/x", "target": "/tmp/."}]}, "binds[0].target"),
    ({"binds": [{"source": "/x", "target": "//dev/shm/"}]}, "binds[0].target"),
    ({"binds": [{"source": "/x", "target": "/dev"}]}, "binds[0].target"),
    ({"binds": [{"source": "/x", "target": "/y", "mode": 1}]}, "binds[0].mode"),
    ({"tmpfs": [{"path": "x"}]}, "tmpfs[0].path"),
    ({"tmpfs": [{"path": "/x", "size_bytes": 1}]}, "tmpfs[0].size_bytes"),
    ({"hide": ["/."]}, "hide[0]"),
    ({"readable": [""]}, "readable[0]"),
    ({"writable": ["/a\0b"]}, "writable[0]"),
    ({"hostname": "a b"}, "hostname"),
    ({"hostname": "-a"}, "hostname"),
    ({"hostname": "x" * 65}, "hostname"),
    ({"capabilities": ["net admin"]}, "capabilities[0]"),
    ({"seccomp": "loose"}, "seccomp"),
    ({"seccomp": "none", "report_denied": True}, "seccomp"),
    ({"seccomp": "none", "preset": "untrusted"}, "seccomp"),
    ({"userns": False, "preset": "untrusted"}, "userns"),
    ({"filesystem": "host", "preset": "untrusted"}, "filesystem"),
    ({"capabilities": ["KILL"], "preset": "untrusted"}, "capabilities"),
    ({"devices": ["/etc/passwd"]}, "devices[0]"),
    ({"devices": ["/dev/kvm:x"]}, "devices[0]"),
    ({"secrets": [{"name": "../x", "path": "/y"}]}, "secrets[0].name"),
    ({"secrets": [{"name": "x", "path": "y"}]}, "secrets[0].path"),
    ({"secrets": [{"name": "x", "path": "/y"}] * 2}, "secrets[1].name"),
    ({"bogus": 1}, "bogus"),
]


@pytest.mark.parametrize(("sandbox", "field"), SANDBOXES, ids=str)
def test_wrong_surroundings_are_refused_by_their_name(sandbox: dict[str, Any], field: str) -> None:
    assert field_of(messages.Submit, {**JOB, "sandbox": sandbox}) == f"sandbox.{field}"


NETS: list[tuple[dict[str, Any], str]] = [
    ({"network": "bridge"}, "network"),
    ({"network": "none", "net": {"publish": [{"host_port": 1, "port": 2}]}}, "net.publish"),
    ({"network": "host", "net": {"name": "x"}}, "net.name"),
    ({"network": "host", "net": {"allow_egress": []}}, "net.allow_egress"),
    (
        {"network": "none", "limits": {"net_egress_bits_per_second": 10**6}},
        "limits.net_egress_bits_per_second",
    ),
    (
        {"network": "host", "limits": {"net_ingress_bits_per_second": 10**6}},
        "limits.net_ingress_bits_per_second",
    ),
    ({"network": "host", "sandbox": {"preset": "untrusted"}}, "network"),
    ({"net": {"publish": [{"host_port": 0, "port": 2}]}}, "net.publish[0].host_port"),
    ({"net": {"publish": [{"host_port": 1, "port": 65536}]}}, "net.publish[0].port"),
    (
        {"net": {"publish": [{"host_port": 1, "port": 2, "protocol": "icmp"}]}},
        "net.publish[0].protocol",
    ),
    (
        {"net": {"publish": [{"host_port": 1, "port": 2, "host_address": "::1"}]}},
        "net.publish[0].host_address",
    ),
    ({"net": {"publish": [{"host_port": 1, "port": 2}] * 2}}, "net.publish[1].host_port"),
    ({"net": {"name": "a b"}}, "net.name"),
]


@pytest.mark.parametrize(("request_", "field"), NETS, ids=str)
def test_a_wrong_network_is_refused_by_its_name(request_: dict[str, Any], field: str) -> None:
    assert field_of(messages.Submit, {**JOB, **request_}) == field


def test_one_port_may_be_published_for_both_protocols() -> None:
    both = [{"host_port": 53, "port": 53, "protocol": name} for name in ("tcp", "udp")]
    assert len(submitted(net={"publish": both}).net.publish) == 2


UPDATES: list[tuple[dict[str, Any], str]] = [
    ({}, "limits"),
    ({"bogus": 1}, "limits.bogus"),
    ({"memory_max_bytes": 1}, "limits.memory_max_bytes"),
    ({"io": [{"path": "/"}]}, "limits.io[0]"),
    ({"rlimits": {"nofile": [2, 1]}}, "limits.rlimits.nofile"),
    ({"cpu_set": "2-1"}, "limits.cpu_set"),
]


@pytest.mark.parametrize(("limits", "field"), UPDATES, ids=str)
def test_a_wrong_update_is_refused_by_its_name(limits: dict[str, Any], field: str) -> None:
    assert field_of(messages.Update, {"job": "abcd", "limits": limits}) == field


def test_an_update_tells_lifting_a_limit_from_leaving_it() -> None:
    update = parse(messages.Update, {"job": "abcd", "limits": {"memory_max_bytes": None}}).limits
    assert update.memory_max_bytes is None
    assert update.pids_max is not None


texts = st.binary(max_size=3) | st.sampled_from([b"A", b"=", b"a\0", b"x" * 131_068])


@given(env=st.dictionaries(texts, texts, max_size=4))
@example(env={b"A": b"x" * 131_069})
@example(env={b"A": b"x" * 131_070})
@example(env={b"A": b"x" * 100_000, b"B": b"x" * 100_000})
def test_an_environment_is_as_long_and_as_right_as_its_variables(env: dict[bytes, bytes]) -> None:
    def each() -> int:
        return sum(message_checks._check_variable(name, value) for name, value in env.items())

    try:
        total = each()
    except Refusal as refusal:
        with pytest.raises(Refusal) as caught:
            message_checks._environment_bytes(env)
        assert caught.value.to_wire() == refusal.to_wire()
    else:
        assert message_checks._environment_bytes(env) == total
        assert all(len(n) + 1 + len(v) <= MAX_ARGUMENT_BYTES for n, v in env.items())
