"""Who may ask for what of a job's surroundings, before any path is looked at."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from isolation import landlock
from runner import messages, spec, surroundings
from runner.config import Config, SandboxConfig
from runner.parsing import parse
from runner.paths import UserPaths
from runner.policy import Peer
from runner.refusal import Refusal
from runner.users import Account

ALICE = Peer(uid=4001, gid=4001, groups=frozenset({4001}), pid=1)
ROOT = Peer(uid=0, gid=0, groups=frozenset(), pid=1)
ACCOUNT = Account(4001, 4001, (4001,), "alice")
JOB = "3f2a0000-0000-4000-8000-000000000001"


def checked(peer: Peer, config: Config | None = None, **request: Any) -> dict[str, Any]:
    asked = parse(messages.Submit, {"argv": ["true"], "cwd": "/", **request})
    config = config or Config()
    whole = spec.build(JOB, asked, ACCOUNT, config)
    return asyncio.run(
        surroundings.check(
            whole, peer=peer, account=ACCOUNT, paths=UserPaths(), config=config, admin_gid=None
        )
    )


def refusal(peer: Peer, config: Config | None = None, **request: Any) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        checked(peer, config, **request)
    return caught.value.code, str(caught.value.fields.get("field"))


def test_an_ordinary_job_may_have_what_it_has() -> None:
    assert checked(ALICE)["seccomp"] == b"default"


def test_a_capability_is_the_configurations_to_give() -> None:
    asked = {"sandbox": {"capabilities": ["NET_RAW"]}}
    assert refusal(ALICE, **asked) == ("not-permitted", "sandbox.capabilities[0]")
    allowed = msgspec.structs.replace(Config(), sandbox=SandboxConfig(capabilities=("NET_RAW",)))
    assert checked(ALICE, allowed, **asked)["capabilities"] == ["NET_RAW"]
    assert checked(ROOT, **asked)["capabilities"] == ["NET_RAW"]


def test_what_is_no_capability_is_refused_to_everybody() -> None:
    asked = {"sandbox": {"capabilities": ["FLY"]}}
    assert refusal(ROOT, **asked) == ("invalid-argument", "sandbox.capabilities[0]")


def test_going_without_the_filter_can_be_forbidden_to_members() -> None:
    strict = msgspec.structs.replace(Config(), sandbox=SandboxConfig(allow_unfiltered=False))
    asked = {"sandbox": {"seccomp": "none"}}
    assert checked(ALICE, **asked)["seccomp"] == b"none"
    assert refusal(ALICE, strict, **asked) == ("not-permitted", "sandbox.seccomp")
    assert checked(ROOT, strict, **asked)["seccomp"] == b"none"
    own = {"sandbox": {"seccomp": "/etc/profile.json"}}
    assert refusal(ALICE, strict, **own) == ("not-permitted", "sandbox.seccomp")


@pytest.mark.parametrize(("port", "allowed"), [(1023, False), (1024, True)])
def test_the_hosts_own_ports_are_not_for_members(port: int, allowed: bool) -> None:  # noqa: FBT001
    asked = {"net": {"publish": [{"host_port": port, "port": 80}]}}
    checked(ROOT, **asked)
    if allowed:
        checked(ALICE, **asked)
    else:
        assert refusal(ALICE, **asked) == ("not-permitted", "net.publish[0].host_port")


@pytest.mark.parametrize(
    ("name", "bounds", "allowed"),
    [
        ("rtprio", [0, 0], True),
        ("rtprio", [0, 1], False),
        ("rtprio", [None, None], False),
        ("nice", [20, 20], True),
        ("nice", [1, 21], False),
        ("nofile", [10, 1_000_000], True),
    ],
)
def test_priorities_that_no_cpu_limit_holds_are_not_for_members(
    name: str,
    bounds: list[int | None],
    allowed: bool,  # noqa: FBT001
) -> None:
    asked = {"limits": {"rlimits": {name: bounds}}}
    checked(ROOT, **asked)
    if allowed:
        checked(ALICE, **asked)
    else:
        assert refusal(ALICE, **asked) == ("not-permitted", f"limits.rlimits.{name}")


def test_paths_without_landlock_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    config = Config()
    sandbox = {"preset": "untrusted"}
    assert refusal(ROOT, config, sandbox=sandbox) == ("limit-unavailable", "sandbox.preset")
    sandbox = {"writable": ["/"]}
    assert refusal(ROOT, config, sandbox=sandbox) == ("limit-unavailable", "sandbox.writable")
