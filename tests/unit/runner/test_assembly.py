"""How the parts are put together: the jobs of hooks are asked what any submission is asked."""

from __future__ import annotations

import asyncio
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from runner import assembly
from runner.config import Config
from runner.hook_template import new_hooks
from runner.messages import Submit
from runner.parsing import parse
from runner.policy import Peer
from runner.queues import Rules
from runner.refusal import Refusal
from runner.rows import NewJob
from runner.scheduling.kinds import Capacity, Needs
from runner.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PEER = Peer(uid=1000, gid=1000, groups=frozenset(), pid=1)
FULL = Refusal("quota-exceeded", given="4096 bytes of output")


def test_a_hook_is_not_run_while_its_users_jobs_take_what_they_may_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def full(_service: object, uid: int) -> None:
        asked.append(uid)
        raise FULL

    monkeypatch.setattr(assembly, "check_log_bytes", full)
    monkeypatch.setattr("runner.hook_calls.peer_now", lambda *_about: PEER)
    with closing(Store.open(str(tmp_path / "db"))) as store:
        _end_with_a_hook(store)
        asyncio.run(_until_no_call_waits(store))
        told = [each.data for each in store.events_since(0, 100) if each.kind == "hook"]
        assert asked == [PEER.uid]
        assert told == [{"event": "ended", "refused": str(FULL)}]


def _end_with_a_hook(store: Store) -> None:
    hooks = [{"on": ["ended"], "argv": ["true"]}]
    request = parse(Submit, {"argv": ["true"], "cwd": "/", "hooks": hooks})
    job = store.insert(
        NewJob(
            id="3f2a0000-0000-4000-8000-000000000001", submitted_by_uid=PEER.uid, uid=PEER.uid,
            gid=PEER.gid, name=None, spec=b"", submitted_ns=1,
            hooks=new_hooks(request.hooks, request, PEER),
        )
    )  # fmt: skip
    store.mark_ended(job.id, 2, "stopped", b"", is_ok=False)


async def _until_no_call_waits(store: Store) -> None:
    config, nothing = Config(), SimpleNamespace()
    parts: Any = SimpleNamespace(
        store=store, tree=nothing, paths=nothing, provisions=nothing,
        rules=Rules(Capacity(1, Needs(1000, 2**30))),
    )  # fmt: skip
    supervisor = SimpleNamespace(
        submit_call=None,
        store=store,
        draining=False,
        refuse_if_ending=lambda: None,
        wait_ended=None,
    )
    service: Any = SimpleNamespace(supervisor=supervisor, admin_gid=None, find_job=None)
    calls = assembly._hook_calls(config, parts, service)
    calls.begin()
    async with asyncio.timeout(10):
        while store.calls(0, 10):
            await asyncio.sleep(0.001)
    await calls.close()
