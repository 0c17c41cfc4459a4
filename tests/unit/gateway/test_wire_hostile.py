"""Whatever bytes come: no exception leaves the wire, and nothing is kept of who has gone."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from client import protocol
from gateway.door import Admitted
from gateway.identity import Certificate
from gateway.policy import Policy
from gateway.session import Gate
from gateway.upstream import Upstream
from gateway.wire import Services, Wire, WireConnection
from tests.unit.gateway.wire_gateway import ALICE, BINDINGS, Audited, Policies, Unmetered

if TYPE_CHECKING:
    import pytest


class Trusting:
    def refusal(self, _certificate: object) -> None:
        return None


CERTIFICATE = Certificate(
    uris=(ALICE,), common_name=None, serial="1f", issuer="CN=test", not_after=0, fingerprint="ab"
)


class Pipe(asyncio.Transport):
    """Takes what is written and forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[dict[str, Any]] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert protocol.frame_length(bytes(data[:4])) == len(data) - 4
        self.sent.append(protocol.decode_body(bytes(data[4:])))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


async def greeting(_who: object) -> dict[str, Any]:
    return {"protocol": 1, "features": []}


def made() -> tuple[Wire, WireConnection, Pipe]:
    """A connection whose runnerd greets, and then is away."""
    policies = Policies()
    policies.policy = Policy(BINDINGS)
    upstream = Upstream("/nonexistent/runnerd.sock")
    gate = Gate(
        policies=policies, trust=Trusting(), audit=Audited(), metrics=Unmetered(),
        upstream=upstream,
    )  # fmt: skip
    wire = Wire(Services(gate, greeting))
    admitted = Admitted(CERTIFICATE, "192.0.2.7", "runnerd/1")
    connection, pipe = WireConnection(wire, admitted), Pipe()
    connection.connection_made(pipe)
    return wire, connection, pipe


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8)
    | st.binary(max_size=8) | st.floats(),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
operations = st.sampled_from(
    ["hello", "credit", "cancel", "signal", "logs", "exec", "events", "submit", "submit_flow",
     "submit_array", "schedule", "status", "wait", "list", "teleport"]
)  # fmt: skip
fields = st.sampled_from(
    ["protocol", "client", "act_for", "events", "signal", "credit", "job", "submit", "steps", "env",
     "cwd", "argv", "user", "sandbox", "select"]
)  # fmt: skip
requests = st.fixed_dictionaries(
    {"id": st.integers(0, 3) | values, "op": operations | values,
     "args": st.dictionaries(fields, values, max_size=5) | values},
)  # fmt: skip


def _frame(body: bytes) -> bytes:
    return protocol.HEADER.pack(len(body)) + body


pieces = st.lists(
    requests.map(lambda message: _frame(msgpack.packb(message)))
    | st.binary(max_size=30)
    | st.binary(min_size=1, max_size=30).map(_frame),
    max_size=12,
)


_HELLO = _frame(msgpack.packb({"id": 1, "op": "hello", "args": {"protocol": 1}}))


@given(pieces, st.integers(0, 1), st.integers(1, 200))
@settings(deadline=None)
def test_nothing_that_comes_is_more_than_refused(sent: list[bytes], greets: int, size: int) -> None:
    async def play() -> None:
        wire, connection, pipe = made()
        stream = _HELLO * greets + b"".join(sent)
        for start in range(0, len(stream), size):
            connection.data_received(stream[start : start + size])
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        await _ended()
        assert wire.connections == 0
        assert not wire._held
        assert connection._in_hand == 0
        for message in pipe.sent:
            assert message.get("error", {}).get("code") != "internal", message

    asyncio.run(play())


async def _ended() -> None:
    others = [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]
    if others:
        _, left = await asyncio.wait(others, timeout=10)
        assert not left


def test_a_defect_is_said_to_be_one_and_ends_nobody_elses_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> list[dict[str, Any]]:
        _, connection, pipe = made()

        async def fails(_who: object) -> dict[str, Any]:
            raise KeyError("a secret of the gateway")

        monkeypatch.setattr(
            connection._answers, "_services", Services(connection._wire.services.gate, fails)
        )
        connection.data_received(_HELLO)
        for _ in range(5):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        await _ended()
        return pipe.sent

    with caplog.at_level(logging.ERROR):
        (sent,) = asyncio.run(play())
    assert sent["error"]["code"] == "internal"
    assert "secret" not in str(sent)
    assert "a secret of the gateway" in caplog.text
