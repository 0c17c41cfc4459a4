"""`runctl doctor`: what this host can enforce, and what to do about what it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from client.cli.common import json_option, open_client, write, write_json

if TYPE_CHECKING:
    from client.records import Doctor, Feature


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
    wide = max((len(item["name"]) for item in answer["features"]), default=0)
    return record(facts) + "\n" + "".join(_feature(item, wide) for item in answer["features"])


def _feature(feature: Feature, wide: int) -> str:
    from client.text import printable

    lines = [f"{printable(feature['name']):<{wide}}  {printable(feature['status'])}\n"]
    for label in ("why", "remedy"):
        text = feature.get(label)
        if text:
            lines.append(f"{'':<{wide}}  {label}: {printable(text)}\n")
    return "".join(lines)
