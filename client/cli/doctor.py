"""`runctl doctor`: what this host can enforce, what its disk holds, and what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from client.cli.common import json_option, open_client, write, write_json

if TYPE_CHECKING:
    from client.contexts import Target
    from client.records import Disk, Doctor, Feature, Problem

_COLUMNS: Final = 79
_GIB: Final = 1024**3
# Less than this part of the disk, or of its inodes, is short.
_SHORT: Final = 20
# Those who take most; --json has all.
_MOST_USERS: Final = 10


@click.command(name="doctor", short_help="Show what this host can enforce, and what is wrong.")
@json_option
@click.pass_obj
def command(target: Target | None, *, as_json: bool) -> int:
    """Show what is taken of the disk, what is wrong, and whether each feature is enforced.

    Exits with 0 when all features are enforced and nothing is wrong, else with 1; with 125
    when runnerd cannot be reached (and says why).
    """
    with open_client(target) as client:
        answer = client.doctor()
    if as_json:
        write_json(answer)
    else:
        write(_report(answer))
    lacks = any(item["status"] != "enforced" for item in answer["features"])
    return int(lacks or bool(answer.get("problems")))


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
    if answer.get("draining"):
        facts.append(("draining", "no job is taken or started until `runnerd drain --cancel`"))
    if launcher := answer.get("launcher"):
        why = launcher["why"]
        facts.append(("launcher", launcher["kind"] + (f": {printable(why)}" if why else "")))
    if disk := answer.get("disk"):
        facts += [("disk", text) for text in _disk(disk)]
    plain = [item for item in answer["features"] if _is_plain(item)]
    others = [item for item in answer["features"] if not _is_plain(item)]
    wide = max((len(item["name"]) for item in others), default=0)
    told = "".join(_feature(item, wide) for item in others)
    problems = _problems(answer.get("problems") or [])
    return record(facts) + problems + _enforced(plain) + (f"\n{told}" if told else "")


def _disk(disk: Disk) -> list[str]:
    """A line each: what is free, what we take of it, who takes most, what is short."""
    from client.text import printable
    from client.units import format_size

    lines = [f"{format_size(disk['free_bytes'])} of {format_size(disk['size_bytes'])} free"]
    jobs, database = format_size(disk["jobs_bytes"]), disk["store_bytes"]
    # Who is no admin is told only what is their own.
    yours = f"your jobs take {jobs}"
    every = f"jobs take {jobs}, the database {format_size(database or 0)}"
    lines.append(yours if database is None else every)
    users = [each for each in disk["users"] if each["jobs"]]
    for user in users[:_MOST_USERS]:
        count = f"{user['jobs']} job{'' if user['jobs'] == 1 else 's'}"
        lines.append(f"  {printable(user['user'])}: {format_size(user['bytes'])} in {count}")
    if len(users) > _MOST_USERS:
        lines.append(f"  and {len(users) - _MOST_USERS} more users")
    return lines + [f"warning: {text}" for text in _shortages(disk)]


def _shortages(disk: Disk) -> list[str]:
    found = []
    size, free = disk["size_bytes"], disk["free_bytes"]
    # A gibibyte of a small disk may be most of it.
    if free < size / _SHORT or free < min(_GIB, size / 2):
        found.append("little room is left; `runctl prune` removes ended jobs")
    inodes = disk.get("inodes", 0)
    if inodes and disk["free_inodes"] < inodes / _SHORT:
        found.append(f"{disk['free_inodes']} inodes are left; `runctl prune` removes ended jobs")
    return found


def _problems(problems: list[Problem]) -> str:
    """A paragraph each, since they are sentences."""
    from client.cli.common import short

    if not problems:
        return ""
    return "\nproblems\n" + "".join(
        _paragraph(f"{short(each['job'])}: " if each["job"] else "", each["text"])
        for each in problems
    )


def _paragraph(about: str, text: str) -> str:
    from textwrap import fill

    from client.text import printable

    return fill(about + printable(text), _COLUMNS, initial_indent="  ", subsequent_indent="    ",
                break_on_hyphens=False, break_long_words=False) + "\n"  # fmt: skip


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
    from client.units import in_units

    lines = [f"{printable(feature['name']):<{wide}}  {printable(feature['status'])}\n"]
    for label in ("why", "remedy"):
        text = feature.get(label)
        if text:
            lines.append(f"{'':<{wide}}  {label}: {in_units(printable(text))}\n")
    return "".join(lines)
