"""Whatever is sent, it is answered, with a status that is no defect, and runnerd is spared."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.rest.bodies import decoded
from gateway.rest.problems import Problem
from gateway.rest.submissions import FlowSubmission, NewSchedule, Submission
from tests.unit.gateway.rest.served import Background, Served

if TYPE_CHECKING:
    from collections.abc import Iterator

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
_FIELDS = st.sampled_from(Submission.__struct_fields__)
_PATH = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#?"), max_size=60
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    background = Background(tmp_path_factory.mktemp("gateway"))
    yield background.start()[0]
    background.stop()


def ask(
    here: Served, method: str, path: str, data: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(here.url.removeprefix("http://"), timeout=10)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if data:
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def check(status: int, body: bytes) -> None:
    assert status < 500, body
    if status >= 400:
        found = msgspec.json.decode(body, type=Problem)
        assert found.status == status


@settings(max_examples=60)
@given(st.binary(min_size=1, max_size=200) | _JSON.map(lambda v: json.dumps(v).encode()))
def test_any_body(here: Served, data: bytes) -> None:
    status, body = ask(here, "POST", "/v1/jobs", data, {"Content-Type": "application/json"})
    assert status == 400
    check(status, body)


@settings(max_examples=60)
@given(st.dictionaries(_FIELDS, _JSON, max_size=3))
def test_any_value_of_any_field(here: Served, fields: dict[str, Any]) -> None:
    data = json.dumps({"argv": ["sleep"], **fields}).encode()
    check(*ask(here, "POST", "/v1/jobs", data, {"Content-Type": "application/json"}))


@settings(max_examples=60)
@given(st.sampled_from(["GET", "POST", "PATCH", "DELETE"]), _PATH)
def test_any_address(here: Served, method: str, path: str) -> None:
    if not path.startswith(("jobs?", "jobs/logs")):
        check(*ask(here, method, f"/v1/{path}"))
        check(*ask(here, method, f"/v1/jobs/x/{path}"))


@settings(max_examples=60)
@given(
    st.sampled_from(["Accept", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID",
                     "Runner-User", "Accept-Encoding", "traceparent", "Content-Type",
                     "Content-Encoding", "Range", "Origin", "Cookie", "Expect"]),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"),
            max_size=80),
)  # fmt: skip
def test_any_header(here: Served, name: str, value: str) -> None:
    check(*ask(here, "GET", "/v1/jobs/done", headers={name: value}))
    check(*ask(here, "DELETE", "/v1/jobs/done", headers={name: value}))
    check(*ask(here, "GET", "/v1/events?since=0", headers={name: value}))


@given(st.binary(max_size=300), st.sampled_from([Submission, FlowSubmission, NewSchedule]))
def test_what_is_read_is_refused_or_of_its_type(data: bytes, kind: Any) -> None:
    from gateway.rest.problems import HttpRefusal, problem

    try:
        assert isinstance(decoded(data, "application/json", kind, may_be_missing=False), kind)
    except Exception as error:  # noqa: BLE001  looked at right here
        assert isinstance(error, HttpRefusal) or problem(error)[0].status == 400
