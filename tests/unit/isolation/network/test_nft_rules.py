"""The text of the rules: what must be in it, and that no word of a user ever is."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.network import nft_base, nft_rules
from isolation.network.addresses import AddressPool, names_for
from isolation.network.egress import parse, permissions
from isolation.network.nft_base import Layout
from isolation.network.nft_rules import Port
from isolation.network.published import Publish

NAMES = names_for("tests")
POOL = AddressPool(IPv4Network("10.213.0.0/16"))
PLAIN = Layout(NAMES, POOL.subnet, POOL.gateway, (IPv4Address("192.0.2.53"),), None, ("eth0",))
ALLOWED = tuple(permissions([parse("10.0.0.0/8:443"), parse("192.0.2.7")], {}))
WEB = (Publish(None, 8080, 80), Publish("127.0.0.1", 53, 5353, "udp"))


def port(offset: int = 2, **fields: object) -> Port:
    plain = Port(offset, IPv4Address(int(POOL.subnet.network_address) + offset), None, (), None)
    return plain._replace(**fields)  # type: ignore[arg-type]


def chain(script: str, name: str) -> list[str]:
    """The rules of a chain, in order."""
    found = re.findall(rf"^add rule ip \S+ {name} (.*)$", script, re.MULTILINE)
    assert found, name
    return found


def test_the_hosts_loopback_is_closed_before_anything_else() -> None:
    first = chain(nft_base.base(PLAIN, anew=True), "raw")[0]
    assert first == f'iifname "{NAMES.bridge}" ip daddr 127.0.0.0/8 drop'


@pytest.mark.parametrize("name", ["from_job", "to_host"])
def test_restrictions_come_before_everything_that_lets_a_job_begin_something(name: str) -> None:
    rules = chain(nft_base.base(PLAIN, anew=True), name)
    restricted = rules.index("ip saddr vmap @restricted")
    for rule in rules[:restricted]:
        assert rule.endswith(" drop") or rule == "ct direction reply accept" or "@networks" in rule


@pytest.mark.parametrize("name", ["to_job", "to_host"])
def test_what_nobody_let_in_is_refused(name: str) -> None:
    assert chain(nft_base.base(PLAIN, anew=True), name)[-1] == "goto refuse"


def test_names_are_led_to_loopback_only_where_a_resolver_is() -> None:
    assert "dnat to 127.0.0.2:53" not in nft_base.base(PLAIN, anew=True)
    forwarding = PLAIN._replace(resolvers=(), forward_to=IPv4Address("127.0.0.2"))
    script = nft_base.base(forwarding, anew=True)
    assert "dnat to 127.0.0.2:53" in script
    assert "snat to 127.0.0.1" in script


def test_tables_made_anew_forget_what_they_had() -> None:
    assert nft_base.base(PLAIN, anew=True).count("delete table") == 2
    assert "delete table" not in nft_base.base(PLAIN, anew=False)


def added(script: str) -> set[str]:
    return set(re.findall(r"^add element (.*?)(?: :.*)? }$", script, re.MULTILINE))


def deleted(script: str) -> set[str]:
    return set(re.findall(r"^delete element (.*) }$", script, re.MULTILINE))


PORTS = st.builds(
    port,
    st.integers(2, 65534),
    network=st.none() | st.text().map(nft_rules.network_id),
    published=st.sampled_from([(), WEB]),
    permissions=st.sampled_from([None, (), ALLOWED]),
)


@given(PORTS)
def test_every_element_that_a_job_adds_goes_with_it(job: Port) -> None:
    plugged = nft_rules.plug(NAMES, job)
    unplugged = nft_rules.unplug(NAMES, job, last_of_network=True)
    assert added(plugged) == deleted(unplugged)
    chains = set(re.findall(r"^add chain (.*)$", plugged, re.MULTILINE))
    assert chains == set(re.findall(r"^delete chain (.*)$", unplugged, re.MULTILINE))
    sets = set(re.findall(r"^add set (\S+ \S+ \S+)", plugged, re.MULTILINE))
    assert sets == set(re.findall(r"^delete set (.*)$", unplugged, re.MULTILINE))


def test_a_network_stays_for_its_other_members() -> None:
    member = port(network=nft_rules.network_id("n"))
    assert "delete chain" not in nft_rules.unplug(NAMES, member, last_of_network=False)


@given(st.text())
def test_no_word_of_a_user_gets_into_a_script(name: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", nft_rules.network_id(name))


def test_what_is_permitted_is_let_through_and_all_else_refused() -> None:
    script = nft_rules.plug(NAMES, port(permissions=ALLOWED))
    assert chain(script, "egress_2") == [
        "meta l4proto { tcp, udp } th dport 443-443 ip daddr { 10.0.0.0/8 } return",
        "ip daddr { 192.0.2.7/32 } return",
        "goto refuse",
    ]
    assert chain(nft_rules.plug(NAMES, port(permissions=())), "egress_2") == ["goto refuse"]


def test_what_was_permitted_before_a_restart_is_not_written_again() -> None:
    kept = port(permissions=(), has_chain=True)
    script = nft_rules.everything(PLAIN, [kept], {"egress_2", "egress_9"}, anew=False)
    assert "add chain ip runnerd_" not in nft_rules.plug(NAMES, kept)
    assert "restricted { 10.213.0.2 : jump egress_2 }" in script
    assert f"delete chain ip {NAMES.table} egress_9" in script
    assert f"delete chain ip {NAMES.table} egress_2" not in script


def test_members_that_have_gone_are_no_members_after_a_restart() -> None:
    network = nft_rules.network_id("n")
    chains = {f"network_{network}", "network_0123456789abcdef"}
    script = nft_rules.everything(PLAIN, [port(network=network)], chains, anew=False)
    flushed = script.index(f"flush set ip {NAMES.table} members_{network}")
    assert flushed < script.index(f"add element ip {NAMES.table} members_{network}")
    assert f"delete set ip {NAMES.table} members_0123456789abcdef" in script
    assert f"delete set ip {NAMES.table} members_{network}" not in script


def test_only_chains_of_jobs_are_taken_for_such() -> None:
    assert nft_rules.is_made_for_jobs("egress_2")
    assert nft_rules.is_made_for_jobs("network_0123456789abcdef")
    assert not nft_rules.is_made_for_jobs("forward")
