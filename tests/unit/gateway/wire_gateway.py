"""A gateway that takes the wire alone, in a thread, for tests whose client blocks, as runctl does.

Door, gate and sessions are as they are; behind them is a runnerd of memory.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self

from client.contexts import Context
from gateway.door import Door
from gateway.policy import Binding, Bounds, Policy
from gateway.serve import entrance
from gateway.session import Gate
from gateway.tls import Tls, TlsFiles
from gateway.upstream import Upstream
from gateway.wire import Services, Wire
from tests.unit.gateway.upstream_double import UpstreamDouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from pathlib import Path

    from gateway.door import Admitted
    from tests.unit.gateway.certificates import Pair, Town

PATIENCE_SECONDS = 20.0
ALICE = "runnerd:user:alice"
BINDINGS = (
    Binding(match=ALICE, user="alice", users=("build",), roles=frozenset({"submitter"})),
    Binding(match="runnerd:user:eve", user="eve", roles=frozenset({"viewer"})),
    Binding(
        match="runnerd:user:busy", user="busy", roles=frozenset({"submitter"}),
        bounds=Bounds(connections=2),
    ),
)  # fmt: skip


class Policies:
    def __init__(self) -> None:
        self.policy = Policy(BINDINGS)


class Audited:
    def __init__(self) -> None:
        self.lines: list[Mapping[str, Any]] = []

    def write(self, entry: Mapping[str, Any]) -> None:
        self.lines.append(entry)


class Unmetered:
    def request(self, *_: object) -> None: ...
    def stream_opened(self, _: str) -> None: ...
    def stream_closed(self, _: str) -> None: ...
    def log_bytes(self, _: int) -> None: ...
    def refused(self, _: str) -> None: ...


class WireGateway:
    """`with WireGateway(tmp_path, town) as gateway:`; `do` runs something in its loop.

    `stop` and `start` restart the gateway at its port; `double.stop()` and `double.start()`, done
    with `do`, runnerd behind it.
    """

    def __init__(self, directory: Path, town: Town, *, frame_seconds: float = 10.0) -> None:
        self.directory = directory
        self.town = town
        self.port = 0
        self.double = UpstreamDouble(str(directory / "runnerd.sock"))
        self.policies = Policies()
        self.audit = Audited()
        self.refused: list[str] = []
        self.files = files = town.write(directory)
        self.tls = Tls(TlsFiles(files.certificate, files.key, files.ca, files.crl))
        self._frame_seconds = frame_seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self.double.start())
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.do(self.double.stop())
        self.do(self._emptied())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()

    def do(self, work: Awaitable[Any]) -> Any:
        async def done() -> Any:
            return await work

        future = asyncio.run_coroutine_threadsafe(done(), self._loop)
        return future.result(PATIENCE_SECONDS)

    def start(self) -> None:
        self.do(self._start())

    def stop(self) -> None:
        self.do(self._stop())

    def context(self, pair: Pair, **changes: Any) -> Context:
        """How somebody is known to it."""
        certificate, key = pair.files(self.directory, f"client-{pair.serial}")
        ca = str(self.directory / "ca.crt")
        made = Context("prod", "localhost", self.port, ca, certificate, key)
        return made._replace(**changes)

    async def _start(self) -> None:
        self.upstream = Upstream(self.double.path)
        gate = Gate(
            policies=self.policies, trust=self.tls.trust, audit=self.audit,
            metrics=Unmetered(), upstream=self.upstream,
        )  # fmt: skip
        services = Services(gate, self.upstream.greeting)
        self.wire = Wire(services, frame_seconds=self._frame_seconds)
        self.door = Door(
            self.tls, _no_http, self.wire, entrance=entrance(gate), count=self.refused.append
        )
        await self.door.open("127.0.0.1", self.port)
        self.port = self.door.ports[0]

    async def _stop(self) -> None:
        self.door.shut()
        self.wire.close()
        await self.door.close()
        self.upstream.close()

    async def _emptied(self) -> None:
        """What was cancelled comes to its end."""
        others = [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]
        if others:
            await asyncio.wait(others, timeout=PATIENCE_SECONDS)


def _no_http(_admitted: Admitted) -> asyncio.Protocol:
    return asyncio.Protocol()
