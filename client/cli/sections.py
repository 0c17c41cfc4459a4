"""Options under headings in --help: click knows one list, and `run` has some fifty.

How help is laid out, and nothing of what the options mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Decorator = Callable[[Any], Any]

_REST: Final = "Options"


class SectionOption(click.Option):
    """An option that stands under a heading."""

    def __init__(self, *args: Any, section: str = _REST, **kwargs: Any) -> None:  # noqa: ANN401  click's
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help has a list of options for each heading, in their order."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lists."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            is_option = isinstance(param, click.Option)
            if is_option and (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(param, "section", _REST), []).append(record)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records, col_max=_NAME_COLUMNS)


# The widest "--word METAVAR" that still has its help beside it.
_NAME_COLUMNS: Final = 26


def option(word: str, section: str = _REST, **how: Any) -> Decorator:  # noqa: ANN401  click's
    """`click.option`, under a heading."""
    return click.option(*word.split(), cls=SectionOption, section=section, **how)


def all_of(options: Sequence[Decorator]) -> Decorator:
    """One decorator that adds them, in their order."""

    def add(command: Any) -> Any:  # noqa: ANN401  a function or a command, as it came
        for decorate in reversed(options):
            command = decorate(command)
        return command

    return add
