"""`runner-gateway check`: a job through REST and one through gRPC, as a client on this machine.

It uses what any client would: the files that `pki issue` made, and the two ports. What it does is
shown as commands that people can type.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

_SECONDS: Final = 30.0
_WORDS: Final = "hello from another machine"


class CheckError(Exception):
    """It did not work: what, and what was answered."""


class Client(NamedTuple):
    """PEM files: the authority's certificate, our certificate and key."""

    ca: str
    certificate: str
    key: str


def client_of(pki: str, name: str | None) -> Client:
    """The files of a client in the directory of an authority. Raises CheckError."""
    clients = os.path.join(pki, "clients")
    try:
        names = sorted(os.listdir(clients)) if name is None else [name]
    except OSError as error:
        raise CheckError(f"cannot look into {clients}: {error.strerror}") from None
    if len(names) != 1:
        raise CheckError(f"--user: which of these? {', '.join(names) or 'there is none'}")
    own = os.path.join(clients, names[0], names[0])
    return Client(os.path.join(pki, "ca.crt"), f"{own}.crt", f"{own}.key")


def check_rest(client: Client, port: int, say: Callable[[str], object]) -> None:
    """Run a job by REST and read its output. Raises CheckError."""
    context = ssl.create_default_context(cafile=client.ca)
    context.load_cert_chain(client.certificate, client.key)
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=_SECONDS)
    url = f"https://localhost:{port}"
    files = f"--cacert {client.ca} --cert {client.certificate} --key {client.key}"
    body = json.dumps({"argv": ["echo", _WORDS]})
    with closing(connection):
        say(f"curl {files} {url}/v1/jobs --json '{body}'")
        job = _asked(connection, "POST", "/v1/jobs", body)["job"]
        say(f"curl {files} '{url}/v1/jobs/{job}/logs?follow=true&format=raw'")
        text = _raw(connection, "GET", f"/v1/jobs/{job}/logs?follow=true&format=raw", None)
    if text.decode("utf-8", "replace").strip() != _WORDS:
        raise CheckError(f"REST: the job's output was {text[:200]!r}, not {_WORDS!r}")
    say(f"  {_WORDS}")


def check_grpc(client: Client, port: int, say: Callable[[str], object]) -> None:
    """Run a job by gRPC and read its output. Raises CheckError."""
    import gateway.rpc.environment  # noqa: F401, I001  before grpc is imported
    import grpc

    credentials = grpc.ssl_channel_credentials(*map(_bytes_of, _in_grpc_order(client)))
    say(f"gRPC localhost:{port} runnerd.worker.v1.Worker/Start, Output, Status")
    try:
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            text, exit_code = _run_by_grpc(channel)
    except grpc.RpcError as error:
        raise CheckError(f"gRPC: {error.code().name}: {error.details()}") from None
    if text.decode("utf-8", "replace").strip() != _WORDS or exit_code:
        raise CheckError(f"gRPC: the job's output was {text[:200]!r}, not {_WORDS!r}")
    say(f"  {_WORDS}")


def _run_by_grpc(channel: grpc.Channel) -> tuple[bytes, int]:
    """Its output and its exit code."""
    from gateway.proto.runnerd.worker.v1 import worker_pb2 as pb

    service = "/runnerd.worker.v1.Worker"
    start = channel.unary_unary(
        f"{service}/Start", pb.StartRequest.SerializeToString, pb.StartResponse.FromString
    )
    output = channel.unary_stream(
        f"{service}/Output", pb.OutputRequest.SerializeToString, pb.OutputResponse.FromString
    )
    status = channel.unary_unary(
        f"{service}/Status", pb.StatusRequest.SerializeToString, pb.StatusResponse.FromString
    )
    job = start(pb.StartRequest(command="echo", args=[_WORDS]), timeout=_SECONDS).id
    parts = output(pb.OutputRequest(id=job), timeout=_SECONDS)
    text = b"".join(part.data for part in parts)
    return text, int(status(pb.StatusRequest(id=job), timeout=_SECONDS).exit_code)


def _in_grpc_order(client: Client) -> tuple[str, str, str]:
    return client.ca, client.key, client.certificate


def _bytes_of(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _asked(connection: http.client.HTTPSConnection, method: str, path: str, body: str) -> Any:  # noqa: ANN401
    return json.loads(_raw(connection, method, path, body))


def _raw(
    connection: http.client.HTTPSConnection, method: str, path: str, body: str | None
) -> bytes:
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise CheckError(f"REST: {method} {path}: {error}") from None
    if answer.status >= http.client.BAD_REQUEST:
        detail = content.decode("utf-8", "replace")[:500]
        raise CheckError(f"REST: {method} {path} was answered {answer.status}: {detail}")
    return content
