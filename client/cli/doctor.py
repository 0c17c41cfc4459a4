"""`runctl doctor`: what this host can enforce, and what to do about what it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from client.cli.common import json_option, open_client, write, write_json

if TYPE_CHECKING:
    from client.records import Doctor, Feature

_COLUMNS: Final = 79


@click.command(name="doctor", short_help="Show what this host can enforce.")
@json_option
@click.pass_obj
def command(socket_path: str | None, *, as_json: bool) -> int:
    """Show each feature, whether it is enforced here, why not, and the remedy.

    Exits with 0 when all are enforced, with 1 when one is not, with 125 when runnerd
    cannot be reached (and says why).
    """
    with open_client(socket_path) as client:
        answer = client.doctor()
    if as_json:
        write_json(answer)
    else:
        write(_report(answer))
    return int(any(item["status"] != "enforced" for item in answer["features"]))


def _report(answer: Doctor) -> str:
    from client.cli.output import record
    from client.text import printable

    jobs = ", ".join(f"{number} {state}" for state, number in answer["jobs"].items())
    facts = [
        ("server", printable(answer["server"])),
        ("kernel", printable(answer["kernel"])),
        ("cgroups", printable(answer["cgroup_root"])),
        ("state", printable(answer["state_dir"])),
        ("jobs", printable(jobs)),
    ]
    plain = [item for item in answer["features"] if _is_plain(item)]
    others = [item for item in answer["features"] if not _is_plain(item)]
    wide = max((len(item["name"]) for item in others), default=0)
    told = "".join(_feature(item, wide) for item in others)
    return record(facts) + _enforced(plain) + (f"\n{told}" if told else "")


def _is_plain(feature: Feature) -> bool:
    """Enforced, and nothing more to say of it: one word in a list."""
    return feature["status"] == "enforced" and not feature.get("why")


def _enforced(features: list[Feature]) -> str:
    """Some dozens of names are easier to look through as a paragraph."""
    from textwrap import fill

    from client.text import printable

    if not features:
        return ""
    names = ", ".join(
        printable(item["name"]).replace(" ", "\N{NO-BREAK SPACE}") for item in features
    )
    # Names hold blanks and hyphens: neither is a place to break a line.
    text = fill(names, _COLUMNS, initial_indent="  ", subsequent_indent="  ",
                break_on_hyphens=False, break_long_words=False)  # fmt: skip
    return "\nenforced\n" + text.replace("\N{NO-BREAK SPACE}", " ") + "\n"


def _feature(feature: Feature, wide: int) -> str:
    from client.text import printable

    lines = [f"{printable(feature['name']):<{wide}}  {printable(feature['status'])}\n"]
    for label in ("why", "remedy"):
        text = feature.get(label)
        if text:
            lines.append(f"{'':<{wide}}  {label}: {printable(text)}\n")
    return "".join(lines)
