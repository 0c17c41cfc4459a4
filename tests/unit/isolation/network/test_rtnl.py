"""What is imported of pyroute2, and that it is the same as with all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# What the rest of it does there, and brings along.
MOST_MODULES = 40


def run(program: str, *before: str) -> str:
    """What a Python of its own prints, with this one's modules behind those in `before`."""
    path = os.pathsep.join([*before, *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_only_the_messages_are_imported_and_what_they_need() -> None:
    found = run(
        "import sys, isolation.network.links\n"
        "print(*(name for name in sys.modules if name.partition('.')[0] in"
        " {'pyroute2', 'unittest', 'isolation'}))"
    ).split()
    assert "isolation.network.links" in found
    others = [name for name in found if not name.startswith("isolation")]
    assert "pyroute2.netlink.rtnl.ifinfmsg" in others
    assert len(others) <= MOST_MODULES
    assert not {"pyroute2", "pyroute2.iproute", "pyroute2.ndb.main", "unittest"} & set(others)


def test_who_imports_the_package_later_or_before_has_all_of_it_and_the_same_messages() -> None:
    check = "assert IPRoute.__name__ == 'IPRoute' and ours is ifinfmsg; print('same')"
    ours = "from isolation.network.rtnl import ifinfmsg as ours"
    whole = "from pyroute2 import IPRoute\nfrom pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg"
    assert run(f"{ours}\n{whole}\n{check}") == "same\n"
    assert run(f"{whole}\n{ours}\n{check}") == "same\n"


def test_messages_are_encoded_as_with_all_of_it() -> None:
    encode = (
        "from ipaddress import IPv4Address as A\n"
        "from isolation.network import links\n"
        "for made in (links.add_bridge('b', '02:00:00:00:00:01', 1500),"
        " links.add_pair('p', 3, 1500, ('eth0', '02:00:00:00:00:02'), 5), links.add_ifb('i'),"
        " links.isolate_and_raise(4, 'job'), links.add_address(4, A('10.0.0.1'), 16),"
        " links.default_route(4, A('10.0.0.1')), links.bring_up(4, 'p'),"
        " links.neighbour(4, A('10.0.0.2'), '02:00:00:00:00:02'),"
        " links.forwarding_entry(4, '02:00:00:00:00:02'), links.remove_link(4, 'p')):\n"
        "    print(made.data.hex())\n"
    )
    alone = run(encode)
    assert len(alone.splitlines()) == 10
    assert run(f"import pyroute2\n{encode}") == alone


def test_a_version_that_needs_its_package_first_gets_it(tmp_path: Path) -> None:
    package = tmp_path / "pyroute2"
    (package / "netlink" / "rtnl").mkdir(parents=True)
    (package / "__init__.py").write_text("READY = True\n")
    for name in ("ifaddrmsg", "ifinfmsg", "ndmsg", "rtmsg"):
        module = package / "netlink" / "rtnl" / f"{name}.py"
        module.write_text(f"import pyroute2\n{name} = ['{name}', pyroute2.READY]\n")
    program = "from isolation.network import rtnl; print(rtnl.ndmsg, rtnl.ifaddrmsg)"
    assert run(program, str(tmp_path)) == "['ndmsg', True] ['ifaddrmsg', True]\n"


def test_without_it_the_error_names_it(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "class No:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] == 'pyroute2':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}')\n"
        "sys.meta_path.insert(0, No())\n"
        "try:\n"
        "    import isolation.network.links\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert run(program, str(tmp_path)) == "No module named 'pyroute2'\n"
