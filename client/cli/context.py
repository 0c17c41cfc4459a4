"""`runctl context`: gateways by name, which one is used, and whom a gateway takes us for.

Where contexts are kept is `client.contexts`'s; how a gateway is spoken to, `client.remote`'s.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import click

from client.cli.common import json_option, open_client, say, write, write_json

if TYPE_CHECKING:
    from client.contexts import Context
    from client.records import Hello

_name = click.argument("name", metavar="NAME")
_DAY_SECONDS: Final = 86_400


@click.group(name="context", short_help="Choose a gateway to another machine's runnerd.")
def command() -> None:
    """Keep gateways to other machines under names, and choose one.

    Every verb goes through the one that --context names, else RUNCTL_CONTEXT, else the one that
    was chosen with `use`. What is of the machine there (paths, users, the environment) is not
    taken from here.
    """


@command.command()
@_name
@click.argument("address", metavar="HOST[:PORT]")
@click.option("--ca", metavar="FILE", help="Of the authority that signed the gateway's.")
@click.option("--cert", metavar="FILE", help="Your certificate.")
@click.option("--key", metavar="FILE", help="Its key.")
@click.option(
    "--bundle",
    metavar="PATH",
    help="All three: a file, or a directory, as `runner-gateway pki issue` makes them.",
)
@click.option("--user", metavar="USER", help="The user to act as there, of several.")
@click.option("--replace", is_flag=True, help="Also where there is one of that name.")
@click.option("--use", "is_used", is_flag=True, help="Use it from now on.")
def add(name: str, address: str, *, replace: bool, is_used: bool, **given: str | None) -> None:
    """Keep the gateway at HOST under NAME. The port is 7443 unless it is given.

    The files stay where they are; they are looked at, but nobody is connected to (`test`).
    """
    from client import contexts
    from client.remote import client_tls

    host, port = contexts.parse_address(address)
    ca, certificate, key = _files(given)
    if given["user"] == "":
        raise click.UsageError("--user: '' given; a user's name is allowed")
    made = contexts.Context(name, host, port, ca, certificate, key, given["user"])
    contexts.check_name(name)
    client_tls(made)
    contexts.add(made, replace=replace)
    if is_used:
        contexts.use(name)
    say(f"context {made} is kept" + (", and used from now on" if is_used else ""))


def _files(given: dict[str, str | None]) -> tuple[str, str, str]:
    """Paths of the authority's certificate, ours and its key. Raises UsageError."""
    single = [given[word] for word in ("ca", "cert", "key")]
    if given["bundle"] is not None:
        if any(each is not None for each in single):
            raise click.UsageError("--bundle stands for --ca, --cert and --key")
        return _of_bundle(os.path.abspath(given["bundle"]))
    if not all(single):
        raise click.UsageError("--ca, --cert and --key are needed, or --bundle")
    ca, certificate, key = (os.path.abspath(str(each)) for each in single)
    return ca, certificate, key


def _of_bundle(path: str) -> tuple[str, str, str]:
    if not os.path.isdir(path):
        return path, path, path
    keys = [name for name in os.listdir(path) if name.endswith(".key")]
    if len(keys) != 1:
        raise click.UsageError(f"--bundle: {path!a} has {len(keys)} files *.key; one is allowed")
    stem = os.path.join(path, keys[0].removesuffix(".key"))
    return os.path.join(path, "ca.crt"), f"{stem}.crt", f"{stem}.key"


@command.command(name="list")
@json_option
def list_contexts(*, as_json: bool) -> None:
    """List the contexts; `*` is before the one that is used when none is named."""
    from client.cli.output import table
    from client.contexts import LOCAL, default_name, every

    used = default_name()
    found = list(every().values())
    if as_json:
        write_json([{**each._asdict(), "used": each.name == used} for each in found])
        return
    rows = [["" if used else "*", LOCAL, "", ""]]
    rows += [
        ["*" * (each.name == used), each.name, each.address, each.user or ""] for each in found
    ]
    write(table(("", "NAME", "GATEWAY", "USER"), rows, None))


@command.command()
@_name
def use(name: str) -> None:
    """Go through the gateway NAME when none is named; `local`: this machine's runnerd.

    RUNNERD_SOCKET and --socket count more.
    """
    from client import contexts

    if name == contexts.LOCAL:
        contexts.use(None)
        say("this machine's runnerd is used from now on")
    else:
        contexts.use(name)
        say(f"context {contexts.named(name)} is used from now on")
    for variable in ("RUNNERD_SOCKET", "RUNCTL_CONTEXT"):
        if os.environ.get(variable):
            say(f"{variable} is set, and counts more")


@command.command()
@click.argument("name", metavar="[NAME]", required=False)
@json_option
@click.pass_context
def show(ctx: click.Context, *, name: str | None, as_json: bool) -> None:
    """Show a context, by default the one that is used."""
    from client.cli.output import record

    chosen = _meant(ctx, name)
    if as_json:
        write_json(None if chosen is None else chosen._asdict())
    elif chosen is None:
        write("local: the runnerd of this machine\n")
    else:
        facts = [
            ("context", chosen.name),
            ("gateway", chosen.address),
            ("authority", chosen.ca),
            ("cert", chosen.certificate),
            ("key", chosen.key),
        ]
        write(record([*facts, ("user", chosen.user)] if chosen.user else facts))


@command.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def rm(names: tuple[str, ...]) -> None:
    """Forget contexts. The files of certificates stay."""
    from client.contexts import remove

    for name in names:
        if remove(name):
            say(f"{name} was in use; from now on this machine's runnerd is used")


@command.command()
@click.argument("name", metavar="[NAME]", required=False)
@json_option
@click.pass_context
def test(ctx: click.Context, *, name: str | None, as_json: bool) -> None:
    """Connect through a context, and show whom the gateway takes you for."""
    chosen = _meant(ctx, name)
    if chosen is None:
        from client.contexts import ContextError

        raise ContextError(
            "no gateway is in use; name a context: `runctl context list` lists them, "
            "`runctl context add` makes one"
        )
    began = time.perf_counter()
    with open_client(chosen) as client:
        greeting = client.hello()
    seconds = time.perf_counter() - began
    if as_json:
        write_json({"context": chosen.name, "seconds": seconds, **greeting})
    else:
        write(_greeting(chosen, greeting, seconds))


def _meant(ctx: click.Context, name: str | None) -> Context | None:
    """The context of that name, else the one that `runctl` would use; None: no gateway."""
    from client.cli.targets import chosen
    from client.contexts import LOCAL, named

    if name is not None:
        return None if name == LOCAL else named(name)
    root = ctx.find_root()
    socket_path, context_name = root.params["socket_path"], root.params["context_name"]
    target = (
        chosen(root, socket_path, context_name) if socket_path is None or context_name else None
    )
    return None if target is None or isinstance(target, str) else target


def _greeting(chosen: Context, greeting: Hello, seconds: float) -> str:
    from client.cli.output import record
    from client.text import printable

    facts = [("context", str(chosen)), ("runnerd", printable(greeting["server"]))]
    if you := greeting.get("gateway"):
        facts[1:1] = [("gateway", printable(you["server"]))]
        facts += [
            ("you are", f"{printable(you['subject'])}, serial {printable(you['serial'])}"),
            ("until", _until(you["not_after"])),
            ("acting as", printable(you["user"])),
            ("roles", ", ".join(map(printable, you["roles"])) or "none"),
        ]
        for word in ("queues", "names"):
            if (only := you[word]) is not None:
                facts.append((f"only {word}", ", ".join(map(printable, only)) or "none"))
    if greeting["draining"]:
        facts.append(("draining", "no job is taken or started now"))
    return record([*facts, ("took", f"{seconds * 1000:.0f} ms")])


def _until(not_after: int) -> str:
    days = (not_after - time.time()) / _DAY_SECONDS
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(not_after))
    return f"{day} ({days:.0f} days)" if days >= 1 else f"{day}: have the certificate renewed"
