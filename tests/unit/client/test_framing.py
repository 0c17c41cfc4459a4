"""A request becomes a frame, or names the field that cannot be one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import protocol
from client.errors import RequestRefused
from client.framing import encode_request


def test_a_request_is_a_frame_of_id_op_and_args() -> None:
    frame = encode_request(7, "status", {"job": "3f2a"})
    assert protocol.frame_length(frame[:4]) == len(frame) - 4
    assert protocol.decode_body(frame[4:]) == {"id": 7, "op": "status", "args": {"job": "3f2a"}}


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({"cursor": 2**70}, "cursor"),
        ({"limits": {"memory_max_bytes": -(2**64)}}, "limits.memory_max_bytes"),
        ({"limits": {"io": [{"path": "/"}, {"path": object()}]}}, "limits.io[1].path"),
        ({"job": "caf\udcff"}, "job"),
    ],
)
def test_what_msgpack_cannot_carry_is_refused_by_field(args: dict[str, object], field: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        encode_request(1, "x", args)
    assert (caught.value.code, caught.value.field) == ("invalid-argument", field)
    assert caught.value.allowed


def test_a_request_above_the_frame_bound_is_refused_before_it_is_sent() -> None:
    with pytest.raises(RequestRefused, match="at most 4194304"):
        encode_request(1, "x", {"data": b"x" * protocol.MAX_FRAME_BYTES})


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({"submit": {"env": {f"V{n}": "" for n in range(4097)}}}, "submit.env"),
        ({"x": [1] * 8193}, "x"),
        ({"x": [[], [0] * 8193]}, "x[1]"),
        ({f"f{n}": 1 for n in range(4097)}, "args"),
        ({"x": [[]] * 512}, None),
        ({"x": [[0] * 8000, [0] * 8000, [0] * 8000]}, None),
        ({"x": nested(40)}, None),
    ],
)
def test_what_would_end_the_connection_is_refused_before_it_is_sent(
    args: dict[str, object], field: str | None
) -> None:
    with pytest.raises(RequestRefused) as caught:
        encode_request(1, "x", args)
    assert (caught.value.code, caught.value.field) == ("invalid-argument", field)


_VALUES = st.recursive(
    st.integers(0, 3) | st.sampled_from([[0] * 8192, [0] * 8193, dict.fromkeys(range(4097), 0)]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
)


@given(
    st.dictionaries(st.text(max_size=3), _VALUES)
    | st.integers(25, 35).map(lambda depth: {"x": nested(depth), "y": "x" * 600})
    | st.integers(500, 520).map(lambda many: {"x": [[]] * many})
)
def test_whatever_is_sent_the_other_side_takes(args: dict[str, object]) -> None:
    body = protocol.encode_frame({"id": 1, "op": "x", "args": args})[4:]
    try:
        protocol.decode_body(body, protocol.MAX_REQUEST_CONTAINERS)
    except protocol.FrameError:
        with pytest.raises(RequestRefused):
            encode_request(1, "x", args)
    else:
        assert encode_request(1, "x", args)[4:] == body
