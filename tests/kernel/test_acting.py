"""The gateway's account acts for users: whose jobs those are, and for whom it may not.

The gateway itself is not here: what speaks is a bare connection of its user.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    connected,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)
from tests.kernel.test_users import output_of, said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.harness import Daemon

GATEWAY, GATEWAY_UID = "test-gateway", 4990
ORIGIN = "CN=alice, serial 3f, 192.0.2.7"
ALICE, BOB = 4001, 4002


@pytest.fixture(scope="module")
def gateway_user(users: dict[str, int]) -> Iterator[str]:
    """The account of the gateway, which may connect and is nothing special otherwise."""
    assert users
    subprocess.run(
        ["useradd", "--no-create-home", "--uid", str(GATEWAY_UID), "--groups", "runnerd", GATEWAY],
        check=True,
    )
    yield GATEWAY
    subprocess.run(["userdel", GATEWAY], check=True)


@pytest.fixture
def admins(users: dict[str, int]) -> Iterator[str]:
    """A group of admins with bob in it."""
    assert users
    subprocess.run(["groupadd", "admins-test"], check=True)
    subprocess.run(["gpasswd", "--add", "bob", "admins-test"], check=True, capture_output=True)
    yield "admins-test"
    subprocess.run(["groupdel", "admins-test"], check=True)


Start = "Callable[..., Daemon]"


@pytest.fixture
def start(own_daemon: Daemon, gateway_user: str) -> Start:
    """Starts a daemon that knows the gateway, with more lines of configuration before and in it."""

    def begin(table: str = "", *, top: str = "", user: str = gateway_user) -> Daemon:
        own_daemon.config.write_text(f'{top}\n[gateway]\nuser = "{user}"\n{table}\n')
        own_daemon.start()
        return own_daemon

    return begin


def hello_for(user: str | int, origin: str = ORIGIN) -> dict[str, Any]:
    return {"protocol": 1, "act_for": {"user": user, "origin": origin}}


def acting(daemon: Daemon, user: str | int) -> Wire:
    """A connection of the gateway's that acts for a user."""
    wire = Wire(daemon, GATEWAY, greet=False)
    answer = wire.ok("hello", hello_for(user))
    assert answer["acting"] is True
    assert "act-for" in answer["features"]
    return wire


def refusal(daemon: Daemon, user: str | int, peer: str = GATEWAY) -> dict[str, Any]:
    """What who asks to act for a user is told, and that nothing is done afterwards."""
    with Wire(daemon, peer, greet=False) as wire:
        answer: dict[str, Any] = wire.error("hello", hello_for(user))
        assert wire.error("list")["code"] == "hello-required"
    return answer


# --- whose it is ---


def test_the_gateway_asks_for_nothing_in_its_own_name_but_totals(start: Start) -> None:
    """A job of its account could read its keys, and be the gateway itself."""
    daemon = start()
    with Wire(daemon, GATEWAY) as gateway:
        for op, args in (("submit", submission("true")), ("list", {}), ("doctor", {})):
            refused = gateway.error(op, **args)
            assert (refused["code"], refused["field"]) == ("not-permitted", "op")
        assert gateway.ok("stats")["jobs"] is not None


def test_what_the_gateway_asks_for_alice_is_alices_and_nobody_elses(start: Start) -> None:
    daemon = start()
    with (
        acting(daemon, "alice") as remote,
        Wire(daemon, "alice") as alice,
        Wire(daemon, "bob") as bob,
        Wire(daemon, GATEWAY) as gateway,
    ):
        assert remote.ok("list") == {"jobs": [], "next": None}
        job = remote.ok("submit", submission("sleep", "1000"))["job"]
        shown = alice.ok("status", job=job)
        assert (shown["uid"], shown["user"], shown["submitted_by_uid"]) == (ALICE, "alice", ALICE)
        assert bob.error("status", job=job)["code"] == "no-such-job"
        assert bob.ok("list")["jobs"] == []
        assert gateway.error("status", job=job)["code"] == "not-permitted"
        mine = alice.ok("submit", submission("sleep", "1000"))["job"]
        assert {each["job"] for each in remote.ok("list")["jobs"]} == {job, mine}
        bobs = bob.ok("submit", submission("sleep", "1000"))["job"]
        assert remote.error("stop", job=bobs)["code"] == "no-such-job"
        remote.ok("stop", job=mine, kill=True)
        assert alice.ok("wait", job=mine)["result"]["stopped_by_uid"] == ALICE
        entry = pwd.getpwnam("alice")
        groups = sorted(os.getgrouplist("alice", entry.pw_gid))
        uid, listed = said(remote, "sh", "-c", "id -u; id -G").splitlines()
        assert (int(uid), sorted(map(int, listed.split()))) == (ALICE, groups)


def test_the_greeting_says_who_it_is_and_the_log_in_whose_words(start: Start) -> None:
    daemon = start()
    with Wire(daemon, GATEWAY, greet=False) as wire:
        answer = wire.ok("hello", hello_for("alice"))
        assert (answer["uid"], answer["acting"], answer["admin"]) == (ALICE, True, False)
        job = wire.ok("submit", submission("sleep", "1000"))["job"]
        wire.ok("stop", job=job[:8], kill=True)
        wire.ok("status", job=job)
    with Wire(daemon, "alice", greet=False) as wire:
        answer = wire.ok("hello", {"protocol": 1})
        assert (answer["uid"], answer["acting"]) == (ALICE, False)
    who = f"uid {ALICE} through the gateway, {ORIGIN!r}"
    log = daemon.log_text()
    assert f"uid {GATEWAY_UID} acts for 'alice': {who}" in log
    assert f"submit of {job} asked by {who}" in log
    assert f"stop of '{job[:8]}' asked by {who}" in log
    assert "status of" not in log


@pytest.fixture
def places(users: dict[str, int]) -> Iterator[dict[int, str]]:
    """A directory of each user's that nobody else may enter."""
    assert users
    found = {uid: f"/var/tmp/of-{uid}" for uid in (0, ALICE, GATEWAY_UID)}
    for uid, path in found.items():
        os.mkdir(path, 0o700)
        os.chown(path, uid, uid)
    yield found
    for path in found.values():
        os.rmdir(path)


def test_paths_are_looked_at_as_alice_and_neither_as_the_gateway_nor_as_root(
    start: Start, places: dict[int, str]
) -> None:
    with acting(start(), "alice") as remote:
        for uid, path in places.items():
            asked = {**submission("pwd"), "cwd": path}
            if uid == ALICE:
                assert output_of(remote, remote.ok("submit", asked)["job"]) == f"{path}\n".encode()
            else:
                assert remote.error("submit", asked)["code"] == "invalid-argument"


def test_alice_runs_jobs_as_herself_alone_and_executes_only_in_her_own(start: Start) -> None:
    daemon = start()
    with acting(daemon, "alice") as remote, Wire(daemon, "bob") as bob:
        for user in (GATEWAY, "bob", "root"):
            refused = remote.error("submit", submission("true", user=user))
            assert refused["code"] == "not-permitted"
        job = bob.ok("submit", submission("sleep", "1000"))["job"]
        assert remote.error("exec", job=job, argv=["true"])["code"] == "no-such-job"
        for op in ("drain", "queue"):
            args = {"name": "default", "paused": True} if op == "queue" else {}
            assert remote.error(op, args)["code"] == "not-permitted"


# --- for whom it may ---


def test_the_gateway_never_acts_for_root_or_for_itself_whatever_is_configured(
    start: Start,
) -> None:
    daemon = start(f'users = ["root", "0", "{GATEWAY}"]\nallow_admins = true')
    for user in ("root", 0, "0", GATEWAY, GATEWAY_UID):
        answer = refusal(daemon, user)
        assert (answer["code"], answer["field"]) == ("not-permitted", "act_for")
        assert "never acts for" in answer["detail"]


def test_without_a_name_members_of_the_sockets_group_are_meant_and_nobody_else(
    start: Start,
) -> None:
    daemon = start()
    for user in ("alice", ALICE, str(ALICE), "bob"):
        acting(daemon, user).socket.close()
    for user in ("mallory", 4003, "nobody"):
        answer = refusal(daemon, user)
        assert answer["code"] == "not-permitted"
        assert "names neither" in answer["detail"]
    unknown = refusal(daemon, "no-such-user")
    assert (unknown["code"], unknown["field"]) == ("invalid-argument", "act_for.user")
    log = daemon.log_text()
    assert f"uid {GATEWAY_UID} may not act for 'mallory', {ORIGIN!r}" in log


def test_with_names_those_are_meant_also_one_who_may_not_connect_itself(start: Start) -> None:
    daemon = start('users = ["mallory"]\ngroups = []')
    with pytest.raises(PermissionError):
        connected(daemon, "mallory")
    with acting(daemon, "mallory") as remote:
        assert said(remote, "id", "-un") == "mallory\n"
    assert refusal(daemon, "alice")["code"] == "not-permitted"


def test_an_admin_is_acted_for_only_where_that_is_allowed(start: Start, admins: str) -> None:
    top = f'admin_group = "{admins}"'
    daemon = start(top=top)
    answer = refusal(daemon, "bob")
    assert answer["code"] == "not-permitted"
    assert "gateway.allow_admins" in answer["detail"]
    acting(daemon, "alice").socket.close()
    daemon.stop()
    daemon = start("allow_admins = true", top=top)
    with Wire(daemon, GATEWAY, greet=False) as remote:
        assert remote.ok("hello", hello_for("bob"))["admin"] is True
        assert said(remote, "id", "-u", user="root") == "0\n"


@pytest.mark.parametrize("peer", ["alice", "bob", "root"])
def test_nobody_but_the_gateway_acts_for_others_and_learns_who_there_is(
    start: Start, peer: str
) -> None:
    daemon = start("allow_admins = true")
    answers = [refusal(daemon, user, peer) for user in ("alice", "bob", "root", "no-such-user")]
    assert {answer["code"] for answer in answers} == {"not-permitted"}
    assert len({answer["detail"] for answer in answers}) == 1
    with Wire(daemon, peer) as wire:
        assert wire.error("hello", hello_for("alice"))["code"] == "not-permitted"


def test_without_a_gateway_nobody_acts_for_others(daemon: Daemon, gateway_user: str) -> None:
    for peer in (gateway_user, "alice", "root"):
        assert refusal(daemon, "alice", peer)["code"] == "not-permitted"


def test_a_gateway_that_is_no_user_of_this_host_is_warned_about_and_nobody_is_it(
    start: Start,
) -> None:
    daemon = start(user="no-such-gateway")
    assert "gateway.user: there is no user no-such-gateway" in daemon.log_text()
    assert refusal(daemon, "alice")["code"] == "not-permitted"


# --- one connection, one user ---


def test_a_connection_acts_for_one_user_and_neither_changes_nor_goes_back(start: Start) -> None:
    daemon = start()
    with acting(daemon, "alice") as remote:
        for again in (hello_for("bob"), hello_for("alice"), {"protocol": 1}):
            assert remote.error("hello", again)["code"] == "not-permitted"
        assert said(remote, "id", "-un") == "alice\n"
    with Wire(daemon, GATEWAY) as wire:
        assert wire.error("hello", hello_for("alice"))["code"] == "not-permitted"


def test_requests_right_behind_the_greeting_are_asked_as_alice_or_not_at_all(
    start: Start,
) -> None:
    daemon = start()
    expected = {"alice": ("alice", None), "mallory": (None, "hello-required")}
    for user, (owner, code) in expected.items():
        with Wire(daemon, GATEWAY, greet=False) as wire:
            wire.send({"id": 1, "op": "hello", "args": hello_for(user)})
            wire.send({"id": 2, "op": "submit", "args": submission("sleep", "1000")})
            answers = [wire.receive() or {} for _ in range(2)]
            assert [answer["id"] for answer in answers] == [1, 2]
            assert answers[1].get("error", {}).get("code") == code
            if owner is not None:
                with Wire(daemon, owner) as local:
                    local.ok("status", job=answers[1]["ok"]["job"])
    with Wire(daemon, "root") as root:
        assert len(root.ok("list")["jobs"]) == 1


# --- bounds ---


def test_quotas_count_what_alice_submits_here_and_through_the_gateway(start: Start) -> None:
    daemon = start(top="[jobs]\nmax_running = 1\n[quotas]\nmax_queued = 3")
    with acting(daemon, "alice") as remote, Wire(daemon, "alice") as alice:
        remote.ok("submit", submission("sleep", "1000"))
        wait_until(lambda: alice.ok("list")["jobs"][0]["state"] == "running")
        for wire in (remote, alice, remote):
            wire.ok("submit", submission("true"))
        for wire in (remote, alice):
            assert wire.error("submit", submission("true"))["code"] == "quota-exceeded"
        with acting(daemon, "bob") as other:
            other.ok("submit", submission("true"))


def test_connections_count_for_whom_they_act_and_others_have_their_own(start: Start) -> None:
    daemon = start(top="[clients]\nmax_connections_per_user = 3")
    local = Wire(daemon, "alice")
    remote = [acting(daemon, "alice") for _ in range(2)]
    try:
        assert refusal(daemon, "alice")["code"] == "too-many-requests"
        with Wire(daemon, "alice", greet=False) as turned_away:
            answer = turned_away.receive() or {}
            assert answer["error"]["code"] == "too-many-requests"
        # As many for bob, one after the other: the gateway's own places are free again each time.
        bobs = [acting(daemon, "bob") for _ in range(3)]
        assert refusal(daemon, "bob")["code"] == "too-many-requests"
        remote.pop().socket.close()
        wait_until(lambda: _is_acted_for(daemon, "alice"))
        for wire in bobs:
            wire.socket.close()
    finally:
        for wire in (local, *remote):
            wire.socket.close()


def _is_acted_for(daemon: Daemon, user: str) -> bool:
    with Wire(daemon, GATEWAY, greet=False) as wire:
        return "ok" in wire.request("hello", hello_for(user))


def test_connections_of_the_gateway_that_have_not_greeted_are_bounded_too(start: Start) -> None:
    daemon = start(top="[clients]\nmax_connections_per_user = 3")
    silent = [connected(daemon, GATEWAY) for _ in range(3)]
    try:
        with Wire(daemon, GATEWAY, greet=False) as wire:
            answer = wire.receive() or {}
            assert answer["error"]["code"] == "too-many-requests"
        # Nobody else is kept out.
        Wire(daemon, "alice").socket.close()
        silent.pop().close()
        wait_until(lambda: _has_room(daemon))
    finally:
        for sock in silent:
            sock.close()


def _has_room(daemon: Daemon) -> bool:
    with Wire(daemon, GATEWAY, greet=False) as wire:
        wire.send({"id": 1, "op": "hello", "args": hello_for("alice")})
        return "ok" in (wire.receive() or {})


def test_a_job_of_the_gateways_user_acts_for_nobody(start: Start) -> None:
    """It is a job, and those may not connect."""
    daemon = start()
    program = (
        "import socket; s = socket.socket(socket.AF_UNIX); "
        f"s.connect({daemon.socket!r}); print(s.recv(1000))"
    )
    with Wire(daemon, "root") as root:
        told = said(root, "python3", "-c", program, user=GATEWAY)
    assert "a job may not use runnerd" in told


# --- what lasts ---


def test_jobs_that_were_asked_for_in_somebodys_name_outlive_the_daemon_and_the_gateway(
    start: Start,
) -> None:
    daemon = start()
    with acting(daemon, "alice") as remote:
        job = remote.ok("submit", submission("sleep", "1000"))["job"]
        wait_until(lambda: remote.ok("status", job=job)["state"] == "running")
    daemon.kill()
    daemon.config.write_text("")
    daemon.start()
    with Wire(daemon, "alice") as alice:
        assert alice.ok("status", job=job)["state"] == "running"
    assert refusal(daemon, "alice")["code"] == "not-permitted"
