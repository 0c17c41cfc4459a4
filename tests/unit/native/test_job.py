"""What a request and a spec say, in C: as the records of Python have it, or refused and said."""

from __future__ import annotations

import errno
import math
import os
import signal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isolation.rlimits import NUMBERS
from runner import messages, parsing, records, spec, stored
from runner.config import Config
from runner.users import Account
from tests.unit.native.frames import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BAD: Final = -errno.EBADMSG
NONE: Final = 2**64 - 1
JOB: Final = "3f2a0000-0000-4000-8000-000000000001"
NEEDED: Final = (
    "job_dir", "log_dir", "control", "job_cgroup", "monitor_cgroup", "payload_cgroup",
)  # fmt: skip
HANDLES: Final = (*NEEDED, "network", "seccomp")

octets = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"\1"))
names = octets.map(lambda data: data.replace(b"=", b"-")).filter(bool)
counts = st.integers(0, 2**63 - 1)
ids = st.integers(0, 2**32 - 2)
seconds = st.floats(0, 2**32) | st.integers(0, 2**32)


class Desk(NamedTuple):
    """The driver, and the directory in which it finds a job's files."""

    driver: Driver
    directory: str

    def ask(self, question: bytes) -> dict[str, list[str]]:
        """Names and what is said of them."""
        lines = self.driver.ask(question).decode().splitlines()
        return {name: values for name, *values in (line.split(" ") for line in lines)}

    def write(self, name: str, data: bytes) -> None:
        with open(os.path.join(self.directory, name), "wb") as file:
            file.write(data)

    def job(self, data: bytes, *, network: bool, seccomp: bool) -> dict[str, list[str]]:
        self.write("spec", data)
        return self.ask(b"j%d%d" % (network, seccomp) + JOB.encode())

    def refused(self, fields: dict[str, Any], *, network: bool = True, seccomp: bool = True) -> str:
        """Why a spec is not used."""
        answer = self.job(records.pack(fields), network=network, seccomp=seccomp)
        assert answer["error"] == [str(BAD)]
        return text(answer["why"])


@pytest.fixture(scope="module")
def desk(driver: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    directory = str(tmp_path_factory.mktemp("job"))
    fd = os.open(directory, os.O_RDONLY)
    path = driver("job", "job", "spec", "request", "fields", "pack")
    with Driver(path, [str(fd)], [fd]) as process:
        yield Desk(process, directory)
    os.close(fd)


def text(said: list[str]) -> str:
    return bytes.fromhex(said[0]).decode(errors="replace")


def number(said: list[str]) -> float:
    return float(said[0])


# A request


def request(**fields: object) -> dict[str, Any]:
    native = {"capabilities": 5, "terminals": "newinstance", "rlimits": [], "own_network": False}
    return {
        "kind": "monitor", "job": JOB, "files": {}, "ids": None, "seq": 7,
        "handles": list(HANDLES), "native": native, "sync_begin": False, **fields,
    }  # fmt: skip


def native(**fields: object) -> dict[str, Any]:
    return {**request()["native"], **fields}


def asked(desk: Desk, fields: dict[str, Any]) -> dict[str, list[str]]:
    return desk.ask(b"q" + bytes([len(fields.get("handles", ""))]) + records.pack(fields))


bounds = st.none() | counts
rlimits = st.lists(st.tuples(st.integers(0, 15), bounds, bounds), max_size=16)


@given(
    seq=st.integers(1, 2**63 - 1),
    job=st.text(st.characters(exclude_characters="\0", codec="ascii"), min_size=1, max_size=63),
    handles=st.permutations(HANDLES),
    capabilities=counts,
    terminals=st.text("a=,620", max_size=63),
    rlimits=rlimits,
)
def test_a_request_is_what_runnerd_said(
    desk: Desk,
    seq: int,
    job: str,
    handles: list[str],
    capabilities: int,
    terminals: str,
    rlimits: list[tuple[int, int | None, int | None]],
) -> None:
    given = native(capabilities=capabilities, terminals=terminals, rlimits=rlimits)
    answer = asked(desk, request(seq=seq, job=job, handles=handles, native=given))
    fds = [str(100 + handles.index(name)) for name in HANDLES]
    expected = {
        "error": ["0"], "seq": [str(seq)], "own_network": ["0"], "handles": fds,
        "capabilities": [str(capabilities)], "sync_begin": ["0"],
    }  # fmt: skip
    entries = {
        f"rlimit{index}": [str(which), *(str(NONE if each is None else each) for each in pair)]
        for index, (which, *pair) in enumerate(rlimits)
    }
    assert text(answer.pop("job")) == job
    assert text(answer.pop("terminals")) == terminals
    assert answer == {**expected, **entries}


def test_a_request_without_a_network_may_ask_for_one_of_its_own(desk: Desk) -> None:
    answer = asked(desk, request(handles=list(NEEDED), native=native(own_network=True)))
    assert answer["handles"] == [*map(str, range(100, 106)), "-1", "-1"]
    assert answer["own_network"] == ["1"]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_request_says_whether_the_logs_begin_has_to_be_on_the_disk(
    desk: Desk, *, wanted: bool
) -> None:
    assert asked(desk, request(sync_begin=wanted))["sync_begin"] == [str(int(wanted))]


def test_a_network_of_its_own_beside_one_that_came_along_is_refused(desk: Desk) -> None:
    assert asked(desk, request(native=native(own_network=True)))["error"] == [str(BAD)]


@pytest.mark.parametrize("name", [*NEEDED])
def test_a_request_without_a_handle_that_it_needs_is_refused(desk: Desk, name: str) -> None:
    answer = asked(desk, request(handles=[each for each in HANDLES if each != name]))
    assert (answer["error"], answer["seq"]) == ([str(BAD)], ["7"])


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2}, {"version": 0}, {"version": "1"},
        {"kind": "exec"}, {"kind": None},
        {"job": ""}, {"job": "a\0b"}, {"job": "x" * 64}, {"job": b"x"},
        {"files": {b"/etc/x": b""}}, {"files": None},
        {"ids": [1, 2]},
        {"handles": [*HANDLES[:-1], "userns"]}, {"handles": [*HANDLES[:-1], "job_dir"]},
        {"handles": [*HANDLES[:-1], 5]}, {"handles": {}},
        {"native": None}, {"native": {}}, {"native": native(more=1)},
        {"native": native(capabilities=-1)}, {"native": native(capabilities=2**63)},
        {"native": native(terminals="x" * 64)}, {"native": native(terminals=b"x")},
        {"native": native(own_network=1)},
        {"native": native(rlimits=[[16, 1, 1]])}, {"native": native(rlimits=[[1, 1]])},
        {"native": native(rlimits=[[1, 1, 1, 1]])}, {"native": native(rlimits=[[1, -1, 1]])},
        {"native": native(rlimits=[[1, 1, 1]] * 17)}, {"native": native(rlimits=[["cpu", 1, 1]])},
        {"sync_begin": None}, {"sync_begin": 1},
        {"more": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_request_that_says_anything_else_is_refused_and_its_asker_known(
    desk: Desk, changed: dict[str, Any]
) -> None:
    answer = asked(desk, request(**changed))
    assert (answer["error"], answer["seq"]) == ([str(BAD)], ["7"])


@pytest.mark.parametrize("name", ["kind", "job", "files", "ids", "handles", "native", "sync_begin"])
def test_a_request_that_leaves_something_out_is_refused(desk: Desk, name: str) -> None:
    fields = request()
    del fields[name]
    assert asked(desk, fields)["error"] == [str(BAD)]


@pytest.mark.parametrize("seq", [None, 0, -1, "7"])
def test_who_asked_is_nobody_where_that_cannot_be_told(desk: Desk, seq: object) -> None:
    answer = asked(desk, request(seq=seq))
    assert (answer["error"], answer["seq"]) == ([str(BAD)], ["0"])


def test_names_and_descriptors_must_be_as_many(desk: Desk) -> None:
    data = records.pack(request())
    for count in (0, 7, 9, 16):
        assert desk.ask(b"q" + bytes([count]) + data)["error"] == [str(BAD)]


@given(st.data())
def test_a_request_that_is_cut_or_lengthened_is_refused(desk: Desk, data: st.DataObject) -> None:
    packed = records.pack(request(native=native(rlimits=[[1, 2, None]])))
    cut = data.draw(st.integers(0, len(packed) - 1))
    assert desk.ask(b"q\x08" + packed[:cut])["error"] == [str(BAD)]
    assert desk.ask(b"q\x08" + packed + packed[: cut + 1])["error"] == [str(BAD)]


@settings(max_examples=300)
@given(st.data())
def test_a_request_with_changed_bytes_never_breaks_anything(
    desk: Desk, data: st.DataObject
) -> None:
    packed = bytearray(records.pack(request(native=native(rlimits=[[1, 2, None]]))))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    assert desk.ask(b"q\x08" + packed)["error"] in (["0"], [str(BAD)])


# A spec


def built(**asked: object) -> dict[str, Any]:
    """As runner.launching writes it down."""
    fields = {"argv": ["true"], "cwd": "/", "network": "none", **asked}
    account = Account(1000, 100, (100, 27), "alice")
    made = spec.build(JOB, parsing.parse(messages.Submit, fields), account, Config())
    made["logs"] = {**made["logs"], "compression": "none"}
    return {**made, "base": None, "row": {"name": "x", "labels": {"a": "b"}}}


whole_limits = st.fixed_dictionaries(
    {},
    optional={
        "timeout_seconds": seconds | st.none(),
        "warning_seconds": seconds | st.none(),
        "cpu_time_seconds": seconds | st.none(),
        "warning_signal": st.none() | st.integers(1, 64),
        "output_max_bytes": st.none() | counts,
        "output_policy": st.sampled_from([None, "drop-oldest", "end", "block"]),
        "scratch_max_bytes": st.none() | counts,
        "memory_max_bytes": counts,
        "oom_policy": st.sampled_from(["kill", "continue"]),
        "cpu_set": st.just("0-3"),
        "cpu_idle": st.booleans(),
        "io": st.just([{"path": b"/", "read_bytes_per_second": 5}]),
        "rlimits": st.dictionaries(st.sampled_from(sorted(NUMBERS)), st.tuples(counts, counts)),
        "net_egress_bits_per_second": counts,
    },
)
specs = st.fixed_dictionaries(
    {
        "argv": st.lists(octets, min_size=1, max_size=20),
        "env": st.dictionaries(names | st.just(b"PATH"), octets, max_size=20),
        "cwd": octets,
        "umask": st.integers(0, 0o777),
        "network": st.sampled_from(["none", "host", "private"]),
        "uid": ids,
        "gid": ids,
        "groups": st.lists(ids, max_size=20),
        "limits": whole_limits,
        "stop_grace_seconds": seconds,
        "deadline_ns": st.none() | counts,
        "logs": st.fixed_dictionaries(
            {
                "segment_bytes": st.integers(1, 2**63 - 1),
                "keep_bytes": st.integers(1, 2**63 - 1),
                "keep_segments": st.integers(1, 2**63 - 1),
                "compression": st.just("none"),
                "on_full": st.sampled_from(["wait", "drop", "end"]),
            }
        ),
    }
)
hostnames = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=64)
filters = st.sampled_from([(b"none", None), (b"default", None), (b"/x", b"\1\2"), (b"none", b"\0")])


def said_limits(limits: dict[str, Any]) -> list[float]:
    """The numbers of a struct, NAN as None."""
    times = [limits.get(f"{name}_seconds") for name in ("timeout", "warning", "cpu_time")]
    policy = (None, "end", "block").index(
        None if limits.get("output_policy") == "drop-oldest" else limits.get("output_policy")
    )
    most = limits.get("output_max_bytes")
    return [
        *(-1.0 if each is None else float(each) for each in times),
        float(limits.get("warning_signal") or 0), float(NONE if most is None else most), policy,
    ]  # fmt: skip


def heard_limits(answer: dict[str, list[str]]) -> list[float]:
    names = ("timeout_seconds", "warning_seconds", "cpu_time_seconds", "warning_signal")
    heard = [number(answer.pop(name)) for name in (*names, "output_max_bytes", "output_policy")]
    return [-1.0 if math.isnan(each) else each for each in heard]


def listed(said: list[str]) -> list[bytes]:
    return [bytes.fromhex(each.removeprefix("x")) for each in said]


@settings(max_examples=200)
@given(fields=specs, hostname=hostnames, seccomp=filters)
def test_a_job_is_what_its_spec_says(
    desk: Desk, fields: dict[str, Any], hostname: str, seccomp: tuple[bytes, bytes | None]
) -> None:
    whole = {**built(), **fields}
    program = {"seccomp": seccomp[0], "seccomp_program": seccomp[1]}
    whole["sandbox"] = {**whole["sandbox"], "hostname": hostname, **program}
    data = stored.pack_spec(whole)
    has_network = fields["network"] != "host"
    answer = desk.job(data, network=has_network, seccomp=seccomp != (b"none", None))
    path = fields["env"].get(b"PATH", b"(none)")
    scratch = fields["limits"].get("scratch_max_bytes")
    full = ("wait", "drop", "end").index(fields["logs"]["on_full"])
    sizes = [str(fields["logs"][name]) for name in ("segment_bytes", "keep_bytes", "keep_segments")]
    assert answer.pop("error") == ["0"], text(answer["why"])
    assert heard_limits(answer) == said_limits(fields["limits"])
    assert listed(answer.pop("argv")) == fields["argv"]
    assert listed(answer.pop("envp")) == [b"=".join(each) for each in fields["env"].items()]
    assert [listed(answer.pop(name)) for name in ("path", "cwd", "hostname")] == [
        [path], [fields["cwd"]], [hostname.encode()],
    ]  # fmt: skip
    assert number(answer.pop("stop_grace_seconds")) == fields["stop_grace_seconds"]
    assert answer == {
        "umask": [str(fields["umask"])],
        "uid": [str(fields["uid"])],
        "gid": [str(fields["gid"])],
        "groups": [*map(str, fields["groups"])],
        "own_sys": ["1" if has_network else "0"],
        "scratch_max_bytes": [str(NONE if scratch is None else scratch)],
        "logs": [*sizes, str(full)],
        "has_deadline": ["0" if fields["deadline_ns"] is None else "1"],
        "deadline_ns": [str(fields["deadline_ns"] or 0)],
    }


def test_a_large_job_is_read(desk: Desk) -> None:
    fields = built(env={f"N{i}": "v" for i in range(1000)})
    fields |= {"argv": [b"x" * 100_000, *[b"y"] * 50_000], "groups": list(range(65536))}
    answer = desk.job(records.pack(fields), network=True, seccomp=True)
    assert answer["error"] == ["0"]
    assert len(answer["argv"]) == 50_001
    assert len(answer["groups"]) == 65536
    assert len(answer["envp"]) == 1000


def in_sandbox(**changed: object) -> dict[str, Any]:
    made = built()
    return {"sandbox": {**made["sandbox"], **changed}}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"argv": []}, "argv"), ({"argv": ["str"]}, "argv"), ({"argv": [b"a\0b"]}, "argv"),
        ({"env": {b"A=B": b""}}, "env"), ({"env": {b"": b""}}, "env"),
        ({"env": {b"A": b"\0"}}, "env"), ({"env": {"A": b""}}, "env"), ({"env": []}, "env"),
        ({"cwd": None}, "cwd"), ({"umask": 0o1000}, "umask"), ({"umask": -1}, "umask"),
        ({"uid": 2**32 - 1}, "uid"), ({"gid": -1}, "gid"), ({"groups": [2**32 - 1]}, "groups"),
        ({"groups": [0] * 65537}, "groups"), ({"network": "other"}, "network"),
        ({"stop_grace_seconds": math.nan}, "stop_grace_seconds"),
        ({"stop_grace_seconds": math.inf}, "stop_grace_seconds"),
        ({"stop_grace_seconds": -1}, "stop_grace_seconds"),
        ({"deadline_ns": -1}, "deadline_ns"), ({"deadline_ns": 2**63}, "deadline_ns"),
        ({"base": 100000}, "base"), ({"version": 2}, "version"), ({"something": 1}, "something"),
        ({"limits": {"timeout_seconds": "5"}}, "limits.timeout_seconds"),
        ({"limits": {"timeout_seconds": -0.5}}, "limits.timeout_seconds"),
        ({"limits": {"warning_signal": 65}}, "limits.warning_signal"),
        ({"limits": {"output_policy": "keep"}}, "limits.output_policy"),
        ({"limits": {"new_limit": 5}}, "limits.new_limit"),
        ({"logs": {}}, "logs.segment_bytes"),
        (in_sandbox(preset="strict"), "sandbox.preset"),
        (in_sandbox(filesystem="overlay"), "sandbox.filesystem"),
        (in_sandbox(root=b"/r"), "sandbox.root"),
        (in_sandbox(keep_changes=b"/k"), "sandbox.keep_changes"),
        (in_sandbox(readable=[b"/r"]), "sandbox.readable"),
        (in_sandbox(writable=[b"/w"]), "sandbox.writable"),
        (in_sandbox(binds=[[b"/a", b"/b", True]]), "sandbox.binds"),
        (in_sandbox(tmpfs=[[b"/a", None]]), "sandbox.tmpfs"),
        (in_sandbox(hide=[b"/h"]), "sandbox.hide"),
        (in_sandbox(userns=True), "sandbox.userns"),
        (in_sandbox(report_denied=True), "sandbox.report_denied"),
        (in_sandbox(devices=[b"all"]), "sandbox.devices"),
        (in_sandbox(secrets=[["a", b"/a"]]), "sandbox.secrets"),
        (in_sandbox(hostname="a\0b"), "zero byte"),
        (in_sandbox(more=None), "sandbox.more"),
        ({"sandbox": {}}, "sandbox.preset is missing"),
    ],
    ids=str,
)  # fmt: skip
def test_a_spec_that_asks_for_more_than_is_done_is_refused_by_name(
    desk: Desk, changed: dict[str, Any], named: str
) -> None:
    why = desk.refused({**built(), **changed})
    assert why.startswith("RecordError: the native launcher cannot use its spec: ")
    assert named in why


@pytest.mark.parametrize("compression", ["zstd", "", None])
def test_a_log_that_is_compressed_is_refused(desk: Desk, compression: object) -> None:
    fields = built()
    fields["logs"]["compression"] = compression
    assert "logs.compression" in desk.refused(fields)


@pytest.mark.parametrize("name", ["segment_bytes", "keep_bytes", "keep_segments"])
def test_a_size_of_nothing_is_refused(desk: Desk, name: str) -> None:
    fields = built()
    fields["logs"][name] = 0
    assert f"logs.{name}" in desk.refused(fields)


@pytest.mark.parametrize(
    "name",
    ["job", "argv", "env", "cwd", "umask", "network", "uid", "gid", "groups", "limits", "logs",
     "sandbox", "stop_grace_seconds"],
)  # fmt: skip
def test_a_spec_that_leaves_something_out_is_refused(desk: Desk, name: str) -> None:
    fields = built()
    del fields[name]
    assert f"{name} is missing" in desk.refused(fields)


def test_every_field_that_python_knows_of_a_spec_is_known(desk: Desk) -> None:
    fields = built(deadline_ns=5, retry={"limit": 1}, limits={"timeout_seconds": 1})
    fields["limits"] |= dict.fromkeys(
        stored._Limits.__struct_fields__
    )  # None is "none" to those that the monitor holds
    assert set(fields) == {*stored._Spec.__struct_fields__, "base", "row"}
    assert set(fields["sandbox"]) == set(stored._Sandbox.__struct_fields__)
    assert set(fields["logs"]) == set(stored._Logs.__struct_fields__)
    assert desk.job(records.pack(fields), network=True, seccomp=True)["error"] == ["0"]


def test_the_spec_of_another_job_is_refused_in_the_words_of_the_python_monitor(desk: Desk) -> None:
    assert desk.refused({**built(), "job": "other"}) == (
        "RecordError: the spec is that of job other"
    )


@pytest.mark.parametrize("network", ["none", "private", "host"])
def test_a_job_never_gets_another_network_than_its_spec_says(desk: Desk, network: str) -> None:
    why = desk.refused({**built(), "network": network}, network=network == "host")
    assert "network does not fit its launch" in why


@pytest.mark.parametrize("seccomp", [b"none", b"default"])
def test_a_job_never_runs_without_its_filter_nor_with_anothers(desk: Desk, seccomp: bytes) -> None:
    why = desk.refused({**built(), **in_sandbox(seccomp=seccomp)}, seccomp=seccomp == b"none")
    assert "sandbox.seccomp does not fit its launch" in why


def test_a_spec_that_is_not_there_is_told_in_the_words_of_the_python_monitor(desk: Desk) -> None:
    desk.write("spec", b"")
    os.unlink(os.path.join(desk.directory, "spec"))
    answer = desk.ask(b"j11" + JOB.encode())
    assert answer["error"] == [str(-errno.ENOENT)]
    assert text(answer["why"]) == ("FileNotFoundError: [Errno 2] No such file or directory: 'spec'")


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "empty", "large"])
def test_what_lies_in_a_specs_place_and_is_none_is_refused_at_once(desk: Desk, kind: str) -> None:
    path = os.path.join(desk.directory, "spec")
    if kind == "link":
        desk.write("other", records.pack(built()))
        os.symlink("other", path)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        os.mkdir(path)
    else:
        desk.write("spec", records.pack(built()))
        os.truncate(path, 0 if kind == "empty" else records.MAX_SPEC_BYTES + 1)
    answer = desk.ask(b"j11" + JOB.encode())
    (os.rmdir if kind == "directory" else os.unlink)(path)
    assert answer["error"] == [str(-errno.ELOOP if kind == "link" else BAD)]


@given(st.data())
def test_a_spec_that_is_cut_or_lengthened_is_refused(desk: Desk, data: st.DataObject) -> None:
    packed = records.pack(built(env={"A": "B"}, limits={"timeout_seconds": 5}))
    cut = data.draw(st.integers(1, len(packed) - 1))
    for torn in (packed[:cut], packed + packed[:cut]):
        assert desk.job(torn, network=True, seccomp=True)["error"] == [str(BAD)]


@settings(max_examples=500)
@given(st.data())
def test_a_spec_with_changed_bytes_never_breaks_anything(desk: Desk, data: st.DataObject) -> None:
    packed = bytearray(records.pack(built(env={"A": "B"}, limits={"timeout_seconds": 5})))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    answer = desk.job(bytes(packed), network=True, seccomp=True)
    assert answer["error"] in (["0"], [str(BAD)])


@settings(max_examples=200)
@given(st.binary(min_size=1))
def test_garbage_is_no_spec(desk: Desk, data: bytes) -> None:
    assert desk.job(data, network=True, seccomp=True)["error"] == [str(BAD)]
    desk.write("limits", data)
    assert desk.ask(b"l")["error"] == [str(BAD)]


# Limits after an update


@given(whole_limits)
def test_limits_that_an_update_wrote_are_what_applies(desk: Desk, limits: dict[str, Any]) -> None:
    desk.write("limits", records.pack(limits))
    answer = desk.ask(b"l")
    assert answer["error"] == ["0"]
    assert heard_limits(answer) == said_limits(limits)


def test_a_limit_of_a_newer_runnerd_is_left_to_the_cgroups(desk: Desk) -> None:
    desk.write("limits", records.pack({"timeout_seconds": 3, "later": [1, {"a": None}]}))
    answer = desk.ask(b"l")
    assert (answer["error"], answer["timeout_seconds"]) == (["0"], ["3"])


@pytest.mark.parametrize(
    "fields",
    [{"timeout_seconds": "x"}, {"version": 2}, {"warning_signal": 65}, {"output_max_bytes": -1}],
    ids=str,
)
def test_limits_that_cannot_be_read_change_nothing(desk: Desk, fields: dict[str, Any]) -> None:
    desk.write("limits", records.pack({"cpu_time_seconds": 9, **fields}))
    answer = desk.ask(b"l")
    assert answer["error"] == [str(BAD)]
    assert answer["warning_signal"] == ["77"]


def test_limits_without_a_version_are_no_record(desk: Desk) -> None:
    desk.write("limits", msgspec.msgpack.encode({"timeout_seconds": 3}))
    assert desk.ask(b"l")["error"] == [str(BAD)]


def test_the_usual_signals_of_a_warning_are_within_what_is_read() -> None:
    assert max(signal.valid_signals()) == 64
