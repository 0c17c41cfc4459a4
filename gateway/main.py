"""The runner-gateway command: `serve` and what prepares it. Options in, exit status out.

Each verb's work is in a module of its own, imported when the verb is used. No traceback reaches a
user: what is wrong is one line on standard error, and the status 1 (2 for wrong usage).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
from msgspec.structs import replace

from client import __version__
from gateway.config import Address, Config, ConfigError, default_directory, load
from gateway.pki.commands import pki
from gateway.variables import warnings

if TYPE_CHECKING:
    from collections.abc import Callable

_FAILURE: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130
_logger: Final = logging.getLogger("gateway")


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="[VERB]",
)
@click.version_option(__version__, prog_name="runner-gateway")
@click.pass_context
def main(context: click.Context) -> None:
    """Give other machines runnerd's jobs: REST, gRPC and runctl over mutual TLS.

    Without a verb it serves. docs/GATEWAY.md says how it is set up.
    """
    if context.invoked_subcommand is None:
        context.invoke(serve)


main.add_command(pki)

_directory = click.option(
    "--dir",
    "directory",
    metavar="DIR",
    help="Where its files are, and where relative paths of other options start "
    "(RUNNER_GATEWAY_DIR; default /etc/runner-gateway, and for a user who cannot read its "
    "config.toml ~/.config/runner-gateway).",
)
_file = click.option(
    "--config", "file", metavar="FILE", help="The configuration (DIR/config.toml)."
)
_VALUES: Final = (
    ("--socket", "PATH", "runnerd's socket."),
    ("--listen", "ADDRESS:PORT", "Where REST and runctl are served (default 127.0.0.1:7443)."),
    ("--grpc-listen", "ADDRESS:PORT", "Where gRPC is served (default 127.0.0.1:7444), or `off`."),
    ("--certificate", "FILE", "The server's certificate chain, PEM."),
    ("--key", "FILE", "Its key, PEM."),
    ("--ca", "FILE", "The authorities of clients, PEM."),
    ("--crl", "FILE", "Their revocation lists, PEM."),
    ("--policy", "FILE", "Who may do what."),
    ("--audit-log", "FILE", "Where each request is recorded; `-`: standard error."),
)


def _some_values(*names: str) -> Callable[[Any], Any]:
    """Those of the options that go over the configuration."""

    def decorated(command: Any) -> Any:  # noqa: ANN401  a decorator of click's
        for option, metavar, text in reversed(_VALUES):
            variable = f"RUNNER_GATEWAY_{option[2:].upper().replace('-', '_')}"
            if option in names:
                command = click.option(option, metavar=metavar, help=f"{text} [{variable}]")(
                    command
                )
        return command

    return decorated


_values: Final = _some_values(*(option for option, _, _ in _VALUES))


@main.command(short_help="Serve until SIGTERM (what happens without a verb).")
@_directory
@_file
@_values
@click.option("--check", is_flag=True, help="Once it serves, do what `check` does.")
def serve(directory: str | None, file: str | None, *, check: bool, **flags: str | None) -> None:
    """Serve REST, gRPC and runctl until SIGTERM. SIGHUP reads certificates and policy again.

    Relative paths of FILE and PATH start from DIR; that of --config from here.
    """
    if os.geteuid() == 0:
        _fail(
            "it needs no privilege and does not serve as root; start it as an account of its own: "
            "`setpriv --reuid runner-gateway --regid runner-gateway --init-groups runner-gateway`"
        )
    config = _loaded(directory, file, flags)
    from gateway import logs
    from gateway.beside import Beside
    from gateway.serve import Gateway, StartError
    from gateway.serve import serve as run

    logs.configure()
    for text in warnings(os.environ):
        _logger.warning("%s", text)
    beside = Beside()

    def when_open(gateway: Gateway) -> None:
        rest, grpc = replace(config.rest_address, port=gateway.rest_port), config.grpc_address
        where, checked = f"REST on {rest}", ["--listen", str(rest)]
        if grpc is not None:
            grpc = replace(grpc, port=gateway.grpc_port)
            where += f", gRPC on {grpc}"
        _logger.info("serving: %s; runnerd at %s", where, config.socket)
        if check:
            checked += ["--grpc-listen", str(grpc or "off"), "--dir", config.directory]
            beside.start([*checked, "--ca", config.ca, *(["--config", file] if file else [])])

    try:
        asyncio.run(run(config, when_open))
    except StartError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    finally:
        has_failed = beside.has_failed()
    if has_failed:
        _fail("the check at the start failed; what it said is above")


@main.command(short_help="Make what a gateway needs, for you or for the machine.")
@_directory
@click.option("--user", metavar="USER", help="Whose certificate to make (default: yours).")
def init(directory: str | None, user: str | None) -> None:
    """Make an authority, a certificate for the gateway and one for a user, policy, configuration.

    For you it is a gateway that acts for you alone. As root it is the machine's: it runs as the
    account runner-gateway, which is made, and acts for whom runnerd's configuration names.

    What is there is kept, and only what is missing is made: it may be run again.
    """
    from gateway import setting_up

    where = os.path.abspath(directory) if directory else default_directory()
    try:
        plan = setting_up.planned(where, user)
        if plan.is_system and setting_up.make_account():
            click.echo(f"Account {setting_up.ACCOUNT}.")
        setting_up.prepare(plan)
        setting_up.make(plan, click.echo)
        for text in setting_up.still_to_do(plan):
            click.echo(text)
    except setting_up.SetUpError as error:
        _fail(str(error))
    _say_what_is_next(plan.is_system, where)


def _say_what_is_next(is_system: bool, where: str) -> None:  # noqa: FBT001
    option = "" if where == default_directory() else f" --dir {where}"
    if not is_system:
        click.echo(f"Next: runner-gateway{option} serve --check" if not option else
                   f"Next: runner-gateway serve{option} --check")  # fmt: skip
        return
    click.echo("Next: let runnerd know it, in /etc/runnerd/config.toml, and restart runnerd:")
    click.echo('  [gateway]\n  user = "runner-gateway"')
    click.echo("then start it, as with examples/runner-gateway.service.")


@main.command(short_help="Run a job through REST and one through gRPC.")
@_directory
@click.option("--user", metavar="NAME", help="Whose certificate, of those in DIR/pki/clients.")
@_file
@_some_values("--listen", "--grpc-listen", "--ca")
@click.option("--rest-port", type=click.IntRange(1, 65535), help="In place of that of --listen.")
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    help="In place of that of --grpc-listen; 0 leaves gRPC out.",
)
def check(
    directory: str | None,
    file: str | None,
    user: str | None,
    rest_port: int | None,
    grpc_port: int | None,
    **flags: str | None,
) -> None:
    """Run a job through REST and one through gRPC of the gateway on this machine.

    With a certificate that `init` or `pki issue` made here, at the addresses that its configuration
    has; without gRPC where that is off.
    """
    from gateway import checking

    config = _loaded(directory, file, flags)
    for text in warnings(os.environ):
        click.echo(f"runner-gateway: {text}", err=True)
    rest = _at_port(config.rest_address, rest_port)
    grpc = _at_port(config.grpc_address or Address(rest.host, 0), grpc_port)
    try:
        client = checking.client_of(os.path.join(config.directory, "pki"), config.ca, user)
        checking.check_rest(client, rest, click.echo)
        if grpc.port:
            checking.check_grpc(client, grpc, click.echo)
    except checking.WhichError as error:
        _fail(str(error), _USAGE)
    except checking.CheckError as error:
        _fail(str(error))
    click.echo("Both work." if grpc.port else "It works.")


def _at_port(address: Address, port: int | None) -> Address:
    return address if port is None else replace(address, port=port)


def _loaded(directory: str | None, file: str | None, flags: dict[str, str | None]) -> Config:
    where = os.path.abspath(directory) if directory else default_directory()
    try:
        return _checked(where, file, flags)
    except ConfigError as error:
        _fail(str(error), _USAGE if _is_right(where, file) else _FAILURE)


def _is_right(where: str, file: str | None) -> bool:
    """Whether there would be nothing wrong without the options."""
    try:
        _checked(where, file, {})
    except ConfigError:
        return False
    return True


def _checked(where: str, file: str | None, flags: dict[str, str | None]) -> Config:
    config = load(where, file, flags)
    _ = config.rest_address, config.grpc_address
    return config


def _fail(text: str, status: int = _FAILURE) -> NoReturn:
    click.echo(f"runner-gateway: {text}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
