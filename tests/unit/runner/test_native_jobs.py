"""Which jobs are plain: nothing that the native launcher cannot do is asked of it."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.capabilities import ROOT_CAPABILITIES, number
from isolation.rlimits import NUMBERS
from runner import messages, native_jobs, parsing, records, spec, stored
from runner.config import Config
from runner.handles import Given
from runner.message_limits import LimitsRequest
from runner.message_sandbox import SandboxRequest
from runner.native_jobs import is_plain, native_fields, wants_loopback
from runner.users import Account
from tests.unit.runner.test_spec import JOB, row

NATIVE = os.path.join(os.path.dirname(native_jobs.__file__), "native")


def spec_of(uid: int = 1000, **request: Any) -> dict[str, Any]:
    """The spec of a submission as a launch reads it."""
    args = {"argv": ["true"], "cwd": "/", **request}
    account = Account(uid, 100, (100,), "alice")
    built = spec.build(JOB, parsing.parse(messages.Submit, args), account, Config())
    return stored.spec(row(stored.pack_spec(built), uid=uid))


PLAIN = [
    {},
    {"network": "host"},
    {"sandbox": {"hostname": "box", "seccomp": "none"}},
    {"sandbox": {"seccomp": "strict", "capabilities": ["NET_RAW"]}},
    {"logs": {"segment_bytes": 65536, "keep_segments": 3, "on_full": "end"}},
    {"umask": 0o77, "deadline_seconds": 60, "retry": {"limit": 3}},
    {
        "limits": {
            "memory_max_bytes": 2**26, "cpu_max_millicpus": 500, "cpu_set": "0", "pids_max": 9,
            "io": [{"path": "/", "read_bytes_per_second": 9999}], "rlimits": {"core": [0, 0]},
            "timeout_seconds": 5, "warning_seconds": 1, "warning_signal": 10, "cpu_time_seconds": 3,
            "output_max_bytes": 65536, "output_policy": "block", "scratch_max_bytes": 2**20,
        }
    },
]  # fmt: skip

SPECIAL = [
    {"sandbox": {"preset": "untrusted"}},
    {"sandbox": {"filesystem": "readonly"}},
    {"sandbox": {"filesystem": "overlay"}},
    {"sandbox": {"filesystem": "overlay", "keep_changes": "/srv"}},
    {"sandbox": {"root": "/srv/root"}},
    {"sandbox": {"readable": ["/srv"]}},
    {"sandbox": {"writable": ["/srv"]}},
    {"sandbox": {"binds": [{"source": "/srv", "target": "/mnt"}]}},
    {"sandbox": {"tmpfs": [{"path": "/mnt", "size_bytes": 65536}]}},
    {"sandbox": {"hide": ["/srv"]}},
    {"sandbox": {"userns": True}},
    {"sandbox": {"report_denied": True}},
    {"sandbox": {"devices": ["/dev/fuse"]}},
    {"sandbox": {"devices": ["all"]}},
    {"sandbox": {"secrets": [{"name": "key", "path": "/srv/key"}]}},
    {"logs": {"compression": "zstd"}},
]


@pytest.mark.parametrize("request_", PLAIN, ids=str)
def test_what_asks_for_nothing_special_is_plain(request_: dict[str, Any]) -> None:
    assert is_plain(spec_of(**request_))


@pytest.mark.parametrize("request_", SPECIAL, ids=str)
def test_what_asks_for_more_is_not(request_: dict[str, Any]) -> None:
    assert not is_plain(spec_of(**request_))


def test_every_option_of_the_surroundings_is_tried_here() -> None:
    asked = {name for each in (*PLAIN, *SPECIAL) for name in each.get("sandbox", {})}
    assert asked == set(SandboxRequest.__struct_fields__)


def test_a_preset_alone_confines_a_job_to_paths() -> None:
    fields = spec_of()
    fields["sandbox"]["preset"] = "untrusted"
    assert not is_plain(fields)


def test_what_a_network_brings_along_is_laid_by_the_other_one() -> None:
    fields = spec_of(network="private")
    assert is_plain(fields, Given())
    assert not is_plain(fields, Given(files={b"/etc/hosts": b""}))
    assert not is_plain(fields, Given(ids=(70_000, 70_000)))


@pytest.mark.parametrize("place", ["", "sandbox", "limits", "logs"])
def test_a_field_that_nobody_has_thought_of_makes_a_job_special(place: str) -> None:
    fields = spec_of()
    (fields[place] if place else fields)["of_tomorrow"] = None
    assert not is_plain(fields)


def test_every_limit_and_every_part_of_a_spec_has_been_thought_of() -> None:
    """Whoever adds one decides: it is the native monitor's too, or its jobs are special."""
    assert {*LimitsRequest.__struct_fields__} == native_jobs._LIMITS
    fields = spec_of()
    assert fields.keys() | {"version"} == native_jobs._FIELDS
    assert fields["logs"].keys() == native_jobs._LOGS
    assert fields["sandbox"].keys() == native_jobs._SANDBOX | native_jobs._UNUSED


def test_the_native_launcher_knows_every_field_that_it_may_be_given() -> None:
    with open(f"{NATIVE}/spec.c", encoding="ascii") as file:
        known = set(re.findall(r'^    \{"(\w+)", \w+', file.read(), re.MULTILINE))
    every = (
        native_jobs._FIELDS, native_jobs._LIMITS, native_jobs._LOGS, native_jobs._SANDBOX,
        native_jobs._UNUSED,
    )  # fmt: skip
    assert set().union(*every) <= known


def test_its_version_is_that_of_the_sources() -> None:
    with open(f"{NATIVE}/native.h", encoding="ascii") as file:
        assert f'#define NATIVE_VERSION "{native_jobs.VERSION}"\n' in file.read()


@pytest.mark.parametrize(
    ("network", "wants"), [("none", True), ("host", False), ("private", False)]
)
def test_only_a_loopback_is_the_launchers_to_make(network: str, *, wants: bool) -> None:
    assert wants_loopback(spec_of(network=network)) is wants


def test_capabilities_are_told_as_the_kernels_bits() -> None:
    assert native_fields(spec_of(), own_network=False)["capabilities"] == 0
    added = native_fields(spec_of(sandbox={"capabilities": ["KILL"]}), own_network=False)
    assert added["capabilities"] == 1 << number("KILL")
    of_root = native_fields(spec_of(uid=0), own_network=True)
    assert of_root["capabilities"] == sum(1 << number(name) for name in ROOT_CAPABILITIES)
    assert of_root["own_network"] is True


_Limit = st.none() | st.integers(0, 2**63 - 1)


@given(st.dictionaries(st.sampled_from(sorted(NUMBERS)), st.tuples(_Limit, _Limit)))
def test_resource_limits_are_told_by_number_in_their_order_and_fit_a_message(
    limits: dict[str, tuple[int | None, int | None]],
) -> None:
    fields = spec_of()
    fields["limits"]["rlimits"] = {name: list(pair) for name, pair in limits.items()}
    told = native_fields(fields, own_network=True)
    assert told["rlimits"] == [[NUMBERS[name], *pair] for name, pair in limits.items()]
    assert len(records.pack(told)) < records.MAX_LAUNCH_MESSAGE_BYTES / 2
    # Of the buffers in native.h.
    assert len(told["terminals"]) < 64
    assert len(told["rlimits"]) <= 16
