"""Whom a command line speaks to: the runnerd of a socket, or a gateway by its context.

What is said on the command line counts more than the environment, and this more than the default
context. Contexts themselves are `client.contexts`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from client.contexts import Target


def chosen(ctx: click.Context, socket_path: str | None, context_name: str | None) -> Target | None:
    """What was asked for; None: the standard socket. Raises UsageError, ContextError."""
    from client.contexts import LOCAL, default_name, named

    if context_name == "":
        raise click.UsageError("--context: '' given; the name of a context is allowed")
    if socket_path is not None and context_name is not None:
        _check_both(ctx, context_name == LOCAL)
        if _is_typed(ctx, "socket_path"):
            return socket_path
    name = default_name() if context_name is None else context_name
    return socket_path if name in (None, LOCAL) else named(str(name))


def _check_both(ctx: click.Context, is_local: bool) -> None:  # noqa: FBT001
    """Raises UsageError where neither of the two counts more."""
    typed = [_is_typed(ctx, name) for name in ("socket_path", "context_name")]
    if all(typed):
        raise click.UsageError("--context and --socket exclude each other")
    if not any(typed) and not is_local:
        raise click.UsageError(
            "RUNCTL_CONTEXT and RUNNERD_SOCKET are both set; unset one, or give an option instead"
        )


def _is_typed(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE


def is_elsewhere() -> bool:
    """Whether the command line that is carried out speaks to another machine."""
    ctx = click.get_current_context(silent=True)
    target = None if ctx is None else ctx.find_root().obj
    return target is not None and not isinstance(target, str)
