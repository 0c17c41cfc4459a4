"""`runctl run`: options to a submission; then the id alone, or `client.cli.foreground`.

The options themselves are in `run_queue`, `run_hooks`, `run_limits`, `run_logs`, `run_sandbox` and
`run_net`; with `--array` it becomes many jobs (`run_array`), with `--every` a schedule
(`run_every`). What they may be is the daemon's to check; here only what cannot be read is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli import (
    run_array,
    run_every,
    run_hooks,
    run_limits,
    run_logs,
    run_net,
    run_queue,
    run_sandbox,
)
from client.cli.announcing import announce
from client.cli.common import open_client, say
from client.cli.paths import inside
from client.cli.sections import SectionedCommand, option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client.contexts import Target


# The words of this command line for the fields of the protocol.
OPTIONS: Final = {
    **run_queue.WORDS,
    **run_hooks.WORDS,
    **run_limits.WORDS,
    **run_logs.WORDS,
    **run_sandbox.WORDS,
    **run_net.WORDS,
    "name": "--name",
    "env": "--env",
    "cwd": "--cwd",
}


@click.command(
    name="run",
    cls=SectionedCommand,
    short_help="Run a command as a job.",
    # So that `runctl run make -j2` needs no "--": options end where the command begins.
    context_settings={"allow_interspersed_args": False},
)
@option("-d --detach", is_flag=True, help="Print the job's id and leave it running.")
@option("--json as_json", is_flag=True, help="With -d or --array: write JSON.")
@option("--name", metavar="NAME", help="A name to call the job by.")
@option("--cwd", metavar="DIR", help="Directory to run in (default: this one).")
@option(
    "--env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable, over the environment of this command. May be repeated.",
)
@option(
    "--clean-env",
    is_flag=True,
    help="Not this environment: a PATH, HOME, USER, LOGNAME, SHELL and LANG, and --env.",
)
@run_queue.queue_options
@run_array.array_options
@run_every.every_options
@run_hooks.hook_options
@run_limits.limit_options(run_limits.MEMORY)
@run_limits.limit_options(run_limits.REST)
@run_limits.limit_options(run_limits.TIME)
@run_logs.log_options
@run_sandbox.file_options
@run_sandbox.privilege_options
@run_net.network_options
@click.argument("command", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def command(target: Target | None, /, **options: Any) -> int:  # noqa: ANN401  click's values
    """Run COMMAND as a job, with hard limits and isolation.

    In the foreground the job's output comes out here, Ctrl-C stops it (twice: kills it), and
    the exit status is the job's: 128+N for signal N, 124 at the time limit, 126 and 127
    when the command cannot be run or found, 125 for failures of runctl or runnerd.
    The job's standard input is empty. A schedule (--every) runs it again and again, and nothing
    comes out here, nor from an array (--array), many jobs with an index each.
    """
    is_array, is_schedule = run_array.is_asked_for(options), run_every.is_asked_for(options)
    if options["as_json"] and not (options["detach"] or is_array or is_schedule):
        raise click.UsageError(
            "--json goes with --detach, --array or --every; `runctl wait --json` gives the result"
        )
    asked, known = arguments(options), words(options)
    if is_array:
        return run_array.make(target, options, asked, known)
    if is_schedule:
        return run_every.make(target, options, asked, known)
    if options["detach"]:
        return _detach(target, asked, known, as_json=options["as_json"])
    from client.cli.foreground import run_in_foreground

    return run_in_foreground(target, asked, known)


def _detach(
    target: Target | None, arguments: dict[str, Any], words: dict[str, str], *, as_json: bool
) -> int:
    from client.errors import ClientError, RequestRefused, describe

    with open_client(target) as client:
        try:
            submitted = client.submit_once(**arguments)
        except RequestRefused as error:
            raise ClientError(describe(error, words)) from error
    if submitted["existing"] and not as_json:
        from client.cli.news import existing

        say(existing(submitted))
    record = {"job": submitted["job"], "existing": submitted["existing"]}
    announce("job", submitted["job"], record, as_json=as_json)
    return 0


def words(options: Mapping[str, Any]) -> dict[str, str]:
    """The words of this command line for the fields of the protocol, as they were typed."""
    return {**OPTIONS, **run_limits.words(options)}


def arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of `Client.submit` for what was typed. Raises click.UsageError."""
    if options["cwd"] == "":
        raise click.UsageError("--cwd: '' given; a directory is allowed")
    user = run_sandbox.account(options["user"])
    return {
        "argv": list(options["command"]),
        "cwd": inside(options["cwd"], has_root=bool(options["root"])) if options["cwd"] else None,
        "env": _environment(options, user),
        "name": options["name"],
        "network": options["net"],
        "user": user,
        "group": run_sandbox.account(options["group"]),
        "limits": run_limits.asked_limits(options),
        "logs": run_logs.asked_logs(options),
        "sandbox": run_sandbox.asked_sandbox(options),
        "net": run_net.asked_net(options),
        **run_queue.asked_queue(options),
        **run_hooks.asked_hooks(options),
    }


def _environment(
    options: Mapping[str, Any], user: str | int | None
) -> dict[str | bytes, str | bytes]:
    """The caller's whole environment, or a clean one, with the settings over it.

    Through a gateway the settings alone: what a login has there is laid under them there.
    """
    from client.cli.settings import lay_over
    from client.cli.targets import is_elsewhere
    from client.environment import clean_environment, own_environment

    own = own_environment()
    # A preset is for a stranger's code, which has no business with our tokens.
    is_clean = options["clean_env"] or options["sandbox"]
    environment: dict[str | bytes, str | bytes] = {}
    if not is_elsewhere():
        environment.update((clean_environment(user) if is_clean else own).items())
    return lay_over(environment, options["env"], own)
