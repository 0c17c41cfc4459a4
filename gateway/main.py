"""The runner-gateway command: `serve` and what prepares it. Options in, exit status out.

Each verb's work is in a module of its own, imported when the verb is used. No traceback reaches a
user: what is wrong is one line on standard error, and the status 1 (2 for wrong usage).
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from typing import Any, Final, NoReturn

import click

from client import __version__
from gateway.config import Config, ConfigError, default_directory, load
from gateway.pki.commands import pki

_FAILURE: Final = 1
_INTERRUPTED: Final = 130
# Whoever revokes signs the next list at once; this only bounds how old one may be.
_LIST_DAYS: Final = 90
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
    help="Where its files are (RUNNER_GATEWAY_DIR; default /etc/runner-gateway, and for a user "
    "without one ~/.config/runner-gateway).",
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


def _values(command: Any) -> Any:  # noqa: ANN401  a decorator of click's
    for option, metavar, text in reversed(_VALUES):
        variable = f"RUNNER_GATEWAY_{option[2:].upper().replace('-', '_')}"
        command = click.option(option, metavar=metavar, help=f"{text} [{variable}]")(command)
    return command


@main.command(short_help="Serve until SIGTERM (what happens without a verb).")
@_directory
@click.option("--config", "file", metavar="FILE", help="The configuration (DIR/config.toml).")
@_values
@click.option("--check", is_flag=True, help="Once it serves, do what `check` does.")
def serve(directory: str | None, file: str | None, *, check: bool, **flags: str | None) -> None:
    """Serve REST, gRPC and runctl until SIGTERM. SIGHUP reads certificates and policy again."""
    if os.geteuid() == 0:
        _fail(
            "it needs no privilege and does not serve as root; start it as an account of its own: "
            "`setpriv --reuid runner-gateway --regid runner-gateway --init-groups runner-gateway`"
        )
    config = _loaded(directory, file, flags)
    from gateway import logs
    from gateway.serve import Gateway, StartError
    from gateway.serve import serve as run

    logs.configure()
    checking: list[subprocess.Popen[bytes]] = []

    def when_open(gateway: Gateway) -> None:
        where = f"REST on {config.rest_address.host}:{gateway.rest_port}"
        if config.grpc_address is not None:
            where += f", gRPC on {config.grpc_address.host}:{gateway.grpc_port}"
        _logger.info("serving: %s; runnerd at %s", where, config.socket)
        if check:
            command = [sys.executable, "-m", "gateway.program", "check", "--dir", config.directory,
                       "--rest-port", str(gateway.rest_port),
                       "--grpc-port", str(gateway.grpc_port)]  # fmt: skip
            checking.append(subprocess.Popen(command))

    try:
        asyncio.run(run(config, when_open))
    except StartError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    finally:
        for each in checking:
            each.wait()


@main.command(short_help="Make what a gateway needs, for you or for the machine.")
@_directory
@click.option("--user", metavar="USER", help="Whose certificate to make (default: yours).")
def init(directory: str | None, user: str | None) -> None:
    """Make an authority, a certificate for the gateway and one for a user, policy, configuration.

    For you it is a gateway that acts for you alone. As root it is the machine's: it runs as the
    account runner-gateway, which is made, and acts for whom runnerd's configuration names.
    """
    from gateway import setting_up
    from gateway.pki.making_commands import init as make_authority

    where = os.path.abspath(directory) if directory else default_directory()
    try:
        plan = setting_up.planned(where, user)
        if plan.is_system and setting_up.make_account():
            click.echo(f"Account {setting_up.ACCOUNT}.")
        setting_up.prepare(plan)
        words = ["--dir", os.path.join(where, "pki"), "--server", "--user", plan.user]
        make_authority.main([*words, "--crl-days", str(_LIST_DAYS)], standalone_mode=False)
        for path in setting_up.write(plan):
            click.echo(f"  {path}")
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
@click.option("--rest-port", type=click.IntRange(1, 65535), default=7443, show_default=True)
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=7444, show_default=True)
def check(directory: str | None, user: str | None, rest_port: int, grpc_port: int) -> None:
    """Run a job through REST and one through gRPC of the gateway on this machine.

    With a certificate that `init` or `pki issue` made here. --grpc-port 0 leaves gRPC out.
    """
    from gateway import checking

    where = os.path.abspath(directory) if directory else default_directory()
    try:
        client = checking.client_of(os.path.join(where, "pki"), user)
        checking.check_rest(client, rest_port, click.echo)
        if grpc_port:
            checking.check_grpc(client, grpc_port, click.echo)
    except (checking.CheckError, OSError) as error:
        _fail(str(error))
    click.echo("Both work." if grpc_port else "It works.")


def _loaded(directory: str | None, file: str | None, flags: dict[str, str | None]) -> Config:
    where = os.path.abspath(directory) if directory else default_directory()
    try:
        config = load(where, file, flags)
        _ = config.rest_address, config.grpc_address
    except ConfigError as error:
        _fail(str(error))
    return config


def _fail(text: str) -> NoReturn:
    click.echo(f"runner-gateway: {text}", err=True)
    sys.exit(_FAILURE)


if __name__ == "__main__":
    main()
