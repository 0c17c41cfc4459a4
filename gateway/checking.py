"""`runner-gateway check`: a job through REST and one through gRPC, as a client on this machine.

It uses what any client would: the files that `pki issue` made, and the two ports. What it does is
shown as commands that people can type. What goes wrong it says as runctl does, with the sentences
of `client.tls_faults`.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from client.contexts import Context
from client.tls_faults import not_trusted, own_fault, refused_later, said_nothing, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc

    from client.errors import ClientError
    from gateway.config import Address

_SECONDS: Final = 30.0
_WORDS: Final = "hello from another machine"
# Who listens there is reached as localhost on this machine, a name that its certificate has.
_HERE: Final = frozenset({"127.0.0.1", "::1", "0.0.0.0", "::", "localhost"})  # noqa: S104  never bound
_MOST_CHARS: Final = 500


class CheckError(Exception):
    """It did not work: what, why, and what to do."""


class WhichError(CheckError):
    """It was not said, or said wrongly, whose certificate is meant."""


class Client(NamedTuple):
    """PEM files: the authority's certificate, our certificate and key."""

    ca: str
    certificate: str
    key: str

    def at(self, name: str, address: Address) -> Context:
        """Them for a gateway on this machine, as the sentences of clients call it."""
        host = "localhost" if address.host in _HERE else address.host
        return Context(name, host, address.port, self.ca, self.certificate, self.key)


def client_of(pki: str, ca: str, name: str | None) -> Client:
    """The files of a client in the directory of an authority; `ca` is whom it trusts.

    Raises CheckError.
    """
    clients = os.path.join(pki, "clients")
    names = _names(clients)
    if name is None:
        if len(names) != 1:
            raise WhichError(f"--user: which of these? {', '.join(names)}")
        name = names[0]
    if name not in names:
        raise WhichError(
            f"--user: there is no certificate of {name!r} in {clients}; `runner-gateway pki issue "
            f"--user NAME` makes one; there is {', '.join(names)}"
        )
    own = os.path.join(clients, name, name)
    client = Client(ca, f"{own}.crt", f"{own}.key")
    for path in client:
        _bytes_of(path)
    return client


def _names(clients: str) -> list[str]:
    try:
        names = sorted(entry.name for entry in os.scandir(clients) if entry.is_dir())
    except FileNotFoundError:
        raise CheckError(
            f"there is no {clients}; `runner-gateway init` makes one, --dir names another place"
        ) from None
    except OSError as error:
        raise CheckError(
            f"cannot look into {clients}: {error.strerror}; run it as its owner"
        ) from None
    if not names:
        raise CheckError(
            f"there is no certificate in {clients}; `runner-gateway pki issue --user NAME` makes "
            "one"
        )
    return names


def check_rest(client: Client, address: Address, say: Callable[[str], object]) -> None:
    """Run a job by REST and read its output. Raises CheckError."""
    where = client.at("REST", address)
    tls = _tls(where)
    connection = http.client.HTTPSConnection(where.host, where.port, context=tls, timeout=_SECONDS)
    url = f"https://{where.address}"
    files = f"--cacert {client.ca} --cert {client.certificate} --key {client.key}"
    body = json.dumps({"argv": ["echo", _WORDS]})
    with closing(connection):
        say(f"curl {files} {url}/v1/jobs --json '{body}'")
        job = _job_of(_raw(where, connection, "POST", "/v1/jobs", body))
        say(f"curl {files} '{url}/v1/jobs/{job}/logs?follow=true&format=raw'")
        text = _raw(where, connection, "GET", f"/v1/jobs/{job}/logs?follow=true&format=raw", None)
    if text.decode("utf-8", "replace").strip() != _WORDS:
        raise CheckError(f"REST: the job's output was {text[:200]!r}, not {_WORDS!r}")
    say(f"  {_WORDS}")


def check_grpc(client: Client, address: Address, say: Callable[[str], object]) -> None:
    """Run a job by gRPC and read its output. Raises CheckError."""
    import gateway.rpc.environment  # noqa: F401, I001  before grpc is imported
    import grpc

    where = client.at("gRPC", address)
    say(f"gRPC {where.address} runnerd.worker.v1.Worker/Start, Output, Status")
    _knock(where)
    credentials = grpc.ssl_channel_credentials(
        _bytes_of(client.ca), _bytes_of(client.key), _bytes_of(client.certificate)
    )
    try:
        with grpc.secure_channel(where.address, credentials) as channel:
            text, exit_code = _run_by_grpc(channel)
    except grpc.RpcError as error:
        why = str(error.details())[:_MOST_CHARS]
        raise CheckError(f"gRPC: {why} ({error.code().name})") from None
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


def _knock(where: Context) -> None:
    """Handshake, and the first byte of what follows: gRPC's library would not say what is wrong."""
    tls = _tls(where)
    tls.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((where.host, where.port), _SECONDS) as sock,
            tls.wrap_socket(sock, server_hostname=where.host) as connection,
        ):
            if not connection.recv(1):
                raise CheckError(f"gRPC: {said_nothing(where)}")
    except (OSError, UnicodeError) as error:
        raise _fault(where, error) from None


def _tls(where: Context) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=where.ca)
    except OSError:
        raise CheckError(f"{where.ca} holds no certificate (PEM)") from None
    try:
        context.load_cert_chain(where.certificate, where.key, password=_no_password)
    except (OSError, ValueError) as error:
        fault = error if isinstance(error, OSError) else OSError(str(error))
        raise CheckError(own_fault(where, fault)) from None
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _fault(where: Context, error: Exception) -> CheckError:
    """What went wrong with a connection, in the words of runctl."""
    return CheckError(str(_known(where, error)))


def _known(where: Context, error: Exception) -> ClientError | str:
    if isinstance(error, ConnectionRefusedError):
        return (
            f"{where.name}: nobody listens at {where.address}; start it with `runner-gateway "
            f"serve`, or say where it listens with --{where.name.lower()}-port"
        )
    if isinstance(error, ssl.SSLCertVerificationError | ssl.SSLEOFError):
        return not_trusted(where, error)
    if isinstance(error, ssl.SSLError):
        is_alert = "_ALERT_" in (error.reason or "")
        return refused_later(where, error) if is_alert else not_trusted(where, error)
    if isinstance(error, http.client.RemoteDisconnected | ConnectionError):
        return f"{where.name}: {said_nothing(where)}"
    if isinstance(error, OSError | UnicodeError):
        return unavailable(where, error)
    return f"{where.name}: what answers at {where.address} does not speak HTTP; see the port"


def _bytes_of(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CheckError(f"{path} cannot be read: {error.strerror}") from None


def _job_of(content: bytes) -> str:
    try:
        return str(json.loads(content)["job"])
    except (ValueError, KeyError, TypeError):
        raise CheckError(f"REST: no job was named in {content[:200]!r}; see the port") from None


def _raw(
    where: Context,
    connection: http.client.HTTPSConnection,
    method: str,
    path: str,
    body: str | None,
) -> bytes:
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise _fault(where, error) from None
    if answer.status >= http.client.BAD_REQUEST:
        raise CheckError(f"REST: {_problem(content)} ({answer.status}, {method} {path})")
    return content


def _problem(content: bytes) -> str:
    """The sentence of a problem document (RFC 9457), or what there is instead."""
    try:
        problem: Any = json.loads(content)
        return str(problem.get("detail") or problem["title"])[:_MOST_CHARS]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"what answers there said {content[:200]!r}"
