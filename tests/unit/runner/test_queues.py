"""What the configuration comes to on this host: queues, their members, quotas, capacity."""

from __future__ import annotations

import grp
import os
import pwd
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.config import Config, HooksConfig, JobsConfig
from runner.config_queues import CapacityConfig, QueueConfig, QuotaConfig, QuotasConfig
from runner.policy import Peer
from runner.queues import Rules, UserQuota, promised, time_limit_ms
from runner.scheduling.kinds import Capacity, Needs, Queue, Quota

if TYPE_CHECKING:
    from collections.abc import Iterable

USERS = {"alice": 1000, "bob": 1001}
GROUPS = {"staff": 50, "wheel": 10}
# Of the default configuration.
HOOKS_ALONE = {"hooks": Queue("hooks", 1_000_000, 16, apart=True, user_cap=4)}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with these users and groups."""
    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=USERS[name]))
    monkeypatch.setattr(grp, "getgrnam", lambda name: SimpleNamespace(gr_gid=GROUPS[name]))


def peer(uid: int, gid: int = 4, groups: Iterable[int] = ()) -> Peer:
    return Peer(uid=uid, gid=gid, groups=frozenset(groups), pid=1)


def test_without_a_word_there_is_one_queue_for_everybody_and_no_quota() -> None:
    rules = Rules.of(Config())
    assert rules.queues == {"default": Queue("default"), **HOOKS_ALONE}
    assert rules.may_use(peer(4000), "default")
    assert rules.quota_of(4000) == UserQuota()
    assert rules.max_priority("default") == 0


def test_the_queue_of_hooks_is_there_for_nobody_but_what_hooks_run() -> None:
    rules = Rules.of(Config(hooks=HooksConfig(max_running=2), admin_group="wheel"))
    assert rules.queues["hooks"] == Queue("hooks", 1_000_000, 2, apart=True, user_cap=1)
    for who in (peer(0), peer(4000), peer(4000, 10)):
        decision = rules.may_use(who, "hooks")
        assert not decision
        assert "only hooks" in decision.why
        assert rules.for_hooks().may_use(who, "hooks")
    assert rules.for_hooks().quota_of(4000) == rules.quota_of(4000)


def test_the_capacity_is_the_machines_unless_it_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 3, 5})
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    config = Config(jobs=JobsConfig(max_running=7))
    assert Rules.of(config).capacity == Capacity(7, Needs(3000, 4_096_000))
    config = Config(capacity=CapacityConfig(cpus=0.29, memory=2**30))
    assert Rules.of(config).capacity == Capacity(256, Needs(290, 2**30))


def test_the_machine_has_memory_and_cpus() -> None:
    needs = Rules.of(Config()).capacity.needs
    assert needs.millicpus >= 1000
    assert needs.memory_bytes > 2**24


def test_a_queue_is_as_it_is_configured() -> None:
    config = Config(
        queues={
            "night": QueueConfig(priority=-5, max_running=2, max_priority=9),
            "default": QueueConfig(priority=3),
        }
    )
    rules = Rules.of(config)
    assert rules.queues == {
        "night": Queue("night", -5, 2),
        "default": Queue("default", 3, None),
        **HOOKS_ALONE,
    }
    assert rules.max_priority("night") == 9
    assert rules.may_have_priority(peer(1000), "night", 9)
    assert not rules.may_have_priority(peer(1000), "night", 10)
    assert rules.may_have_priority(peer(0), "night", 1000)
    assert not rules.may_have_priority(peer(1000), "of a row, not configured", 1)


def restricted(allow: tuple[str, ...]) -> Rules:
    return Rules.of(Config(queues={"gpu": QueueConfig(allow=allow)}, admin_group="wheel"))


def test_a_queue_may_be_used_by_those_that_are_named_and_by_admins() -> None:
    rules = restricted(("alice", "@staff", "1234", "@77"))
    for someone in (peer(1000), peer(9, groups=[50]), peer(9, gid=77), peer(1234), peer(0),
                    peer(9, groups=[10])):  # fmt: skip
        assert rules.may_use(someone, "gpu"), someone
    for someone in (peer(1001), peer(50), peer(77, gid=1000), peer(9, groups=[1234])):
        assert not rules.may_use(someone, "gpu"), someone
        assert rules.may_use(someone, "default")


def test_a_name_that_there_is_not_is_warned_about_and_counts_for_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rules = restricted(("mallory", "@nobodies"))
    assert not rules.may_use(peer(1000), "gpu")
    assert "queues.gpu.allow: there is no user mallory" in caplog.messages
    assert "queues.gpu.allow: there is no group nobodies" in caplog.messages
    quotas = QuotasConfig(max_running=3, users={"mallory": QuotaConfig(max_running=1)})
    assert Rules.of(Config(quotas=quotas)).quota_of(1000).running.max_running == 3
    assert "quotas.users.mallory: there is no such user" in caplog.messages


def test_an_admin_group_that_there_is_not_makes_nobody_an_admin() -> None:
    config = Config(queues={"gpu": QueueConfig(allow=())}, admin_group="absent")
    rules = Rules.of(config)
    assert not rules.may_use(peer(1000, groups=[10]), "gpu")
    assert rules.may_use(peer(0), "gpu")


def test_a_quota_is_everybodys_but_for_those_who_have_their_own_and_for_root() -> None:
    quotas = QuotasConfig(
        max_queued=10,
        max_running=2,
        max_cpus=1.5,
        max_memory=2**30,
        max_log_bytes=2**20,
        users={
            "alice": QuotaConfig(max_queued=0, max_cpus=4),
            "7": QuotaConfig(max_log_bytes=4096, max_memory=2**23, max_running=9),
            "0": QuotaConfig(max_running=1),
        },
    )
    rules = Rules.of(Config(quotas=quotas))
    assert rules.quota_of(1001) == UserQuota(Quota(2, 1500, 2**30), 10, 2**20)
    assert rules.quota_of(1000) == UserQuota(Quota(2, 4000, 2**30), 0, 2**20)
    assert rules.quota_of(7) == UserQuota(Quota(9, 1500, 2**23), 10, 4096)
    assert rules.quota_of(0) == UserQuota()


@given(limit=st.none() | st.integers(0, 2**50), most=st.integers(1, 2**50))
def test_what_limits_promise_is_never_more_than_the_capacity(limit: int | None, most: int) -> None:
    limits = {} if limit is None else {"memory_max_bytes": limit, "cpu_max_millicpus": limit}
    found = promised(limits, Needs(most, most))
    assert found.fits(Needs(most, most))
    assert found == Needs(min(limit or 0, most), min(limit or 0, most))


def test_how_long_a_job_may_run_is_its_time_limit_and_the_grace_after_it() -> None:
    spec = {"limits": {"timeout_seconds": 1.5}, "stop_grace_seconds": 10}
    assert time_limit_ms(spec) == 11_500
    assert time_limit_ms({**spec, "limits": {}}) is None
