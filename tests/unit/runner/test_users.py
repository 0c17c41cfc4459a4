"""Whom a job runs as: the peer, or whom an admin names, and nobody else."""

from __future__ import annotations

import grp
import os
import pwd
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runner import users
from runner.policy import Peer
from runner.refusal import Refusal
from runner.users import (
    Account,
    account_for,
    account_of,
    acted_for,
    group_id,
    remembered_account,
    uid_named,
    user_name,
)

if TYPE_CHECKING:
    from pathlib import Path

ADMINS = 77
# A number that no user of a host has.
STRANGER = 2**31 + 4711
ROOT = pwd.getpwuid(0)


def peer(uid: int, *groups: int) -> Peer:
    return Peer(uid=uid, gid=uid, groups=frozenset(groups), pid=1)


def refusal_of(who: Peer, user: str | int) -> tuple[str, str]:
    with pytest.raises(Refusal) as caught:
        account_for(who, user, ADMINS)
    assert caught.value.fields["field"] == "user"
    assert caught.value.fields["given"]
    return caught.value.code, caught.value.fields.get("allowed", caught.value.fields.get("detail"))


def test_a_peer_runs_with_the_groups_that_the_kernel_gave_it_and_not_those_of_the_database() -> (
    None
):
    me = Peer(uid=os.getuid(), gid=4242, groups=frozenset({9, 3, 7}), pid=1)
    expected = Account(os.getuid(), 4242, (3, 7, 9), user_name(os.getuid()))
    assert account_of(me) == expected
    for user in (None, os.getuid(), str(os.getuid())):
        assert account_for(me, user, ADMINS) == expected


def test_a_peer_that_the_database_does_not_know_runs_under_its_number() -> None:
    assert account_of(peer(STRANGER)) == Account(STRANGER, STRANGER, (), str(STRANGER))


@pytest.mark.parametrize("admin", [peer(0), peer(STRANGER, ADMINS)])
@pytest.mark.parametrize("entry", [e for e in pwd.getpwall() if e.pw_uid][:3])
def test_root_and_admins_may_name_a_user_who_then_has_its_own_groups(
    admin: Peer, entry: pwd.struct_passwd
) -> None:
    groups = tuple(sorted(set(os.getgrouplist(entry.pw_name, entry.pw_gid))))
    expected = Account(entry.pw_uid, entry.pw_gid, groups, entry.pw_name)
    assert account_for(admin, entry.pw_name, ADMINS) == expected
    assert account_for(admin, entry.pw_uid, ADMINS)[:3] == expected[:3]


def test_nobody_else_may_name_another_user_root_least_of_all() -> None:
    for user in (0, "0", ROOT.pw_name):
        code, why = refusal_of(peer(STRANGER, 5), user)
        assert code == "not-permitted"
        assert "only root and the admin group" in why


@pytest.mark.parametrize(
    "user",
    [
        "no-such-user-here", "", "root\0", "\udcff", "a" * 256, "9" * 256, "-1", "+0", "0x0", "1_0",
        STRANGER, 2**32 - 2, 2**32 - 1, 2**32, 2**64, -1,
    ],
)  # fmt: skip
def test_a_user_that_this_host_does_not_have_is_refused(user: str | int) -> None:
    assert refusal_of(peer(0), user) == ("invalid-argument", "a user of this host")


@pytest.mark.parametrize("user", ["\u0660", "\uff10"])
def test_digits_of_other_scripts_are_no_number_of_a_user(user: str) -> None:
    """Both are zero to int(), and zero is root."""
    assert refusal_of(peer(0), user)[0] == "invalid-argument"


def test_a_user_is_shown_by_name_and_without_one_by_number() -> None:
    assert user_name(0) == ROOT.pw_name
    assert user_name(STRANGER) == str(STRANGER)


# Names that were looked up a moment ago


class Database:
    """Stands for pwd: how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.asked = 0
        self.name = "alice"
        self.file = path / "passwd"
        self.file.write_text("1")
        monkeypatch.setattr(users, "_USERS", str(self.file))
        monkeypatch.setattr(users, "_names", {})
        monkeypatch.setattr(pwd, "getpwuid", self.getpwuid)

    def getpwuid(self, uid: int) -> Any:
        self.asked += 1
        if uid == STRANGER:
            raise KeyError(uid)
        return SimpleNamespace(pw_name=self.name)


def is_remembered(uid: int) -> bool:
    account = remembered_account(Peer(uid=uid, gid=uid, pid=1, groups=frozenset()))
    return account is not None and account == account_of(
        Peer(uid=uid, gid=uid, pid=1, groups=frozenset())
    )


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Database:
    return Database(monkeypatch, tmp_path)


@pytest.mark.parametrize("uid", [1000, STRANGER])
def test_a_name_is_asked_for_once_in_a_while(database: Database, uid: int) -> None:
    assert not is_remembered(uid)
    assert user_name(uid) == user_name(uid)
    assert is_remembered(uid)
    assert database.asked == 1


def test_a_name_is_asked_for_again_when_its_file_has_changed(database: Database) -> None:
    assert user_name(1000) == "alice"
    database.name = "bob"
    new = database.file.with_name("new")
    new.write_text("2")
    new.rename(database.file)
    assert not is_remembered(1000)
    assert user_name(1000) == "bob"


def test_a_name_is_asked_for_again_after_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert user_name(1000) == "alice"
    database.name = "bob"
    later = time.monotonic() + users.NAME_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert user_name(1000) == "bob"


def test_names_of_a_bounded_number_are_remembered(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "_MOST_NAMES", 3)
    for uid in range(1000, 1010):
        assert user_name(uid) == database.name
        assert len(users._names) <= 3


# Those for whom the gateway acts, and names in the configuration

GATEWAY = Peer(uid=990, gid=990, groups=frozenset({990, 12}), pid=4321)
SOMEBODY = next(entry for entry in pwd.getpwall() if entry.pw_uid)


@pytest.mark.parametrize("user", [SOMEBODY.pw_name, SOMEBODY.pw_uid, str(SOMEBODY.pw_uid)])
def test_who_is_acted_for_is_who_the_user_database_says_and_nothing_of_the_gateway_but_its_process(
    user: str | int,
) -> None:
    assert acted_for(user, GATEWAY, "CN=x") == Peer(
        uid=SOMEBODY.pw_uid,
        gid=SOMEBODY.pw_gid,
        groups=frozenset(os.getgrouplist(SOMEBODY.pw_name, SOMEBODY.pw_gid)),
        pid=GATEWAY.pid,
        origin="CN=x",
    )


@pytest.mark.parametrize(
    "user", ["no-such-user", STRANGER, str(STRANGER), "a\0b", "\ud800", "9" * 99]
)
def test_who_is_no_user_is_not_acted_for(user: str | int) -> None:
    with pytest.raises(Refusal) as caught:
        acted_for(user, GATEWAY, "CN=x")
    assert (caught.value.code, caught.value.fields["field"]) == ("invalid-argument", "act_for.user")


def test_a_user_whose_groups_nobody_tells_is_not_acted_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str, _gid: int) -> list[int]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "getgrouplist", fail)
    with pytest.raises(Refusal, match="Input/output error"):
        acted_for(SOMEBODY.pw_uid, GATEWAY, "CN=x")


def test_a_group_is_a_number_and_one_that_there_is_not_is_none() -> None:
    own = grp.getgrgid(os.getgid())
    assert group_id(own.gr_name) == own.gr_gid
    assert group_id("no-such-group-here") is None
    assert group_id(None) is None


def test_a_user_that_is_configured_by_number_needs_no_account() -> None:
    assert uid_named(SOMEBODY.pw_name) == SOMEBODY.pw_uid
    assert uid_named(str(STRANGER)) == STRANGER
    assert uid_named("no-such-user") is None
