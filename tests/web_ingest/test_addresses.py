"""No address of a private network may be connected to, in whatever form it is written."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.web_ingest.addresses import is_public

PRIVATE = [
    IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
LOCAL_6 = ["::/8", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "3fff::/20", "fc00::/7", "fe80::/10",
           "fec0::/10", "ff00::/8", "5f00::/16"]  # fmt: skip
FORMS = {
    "plain": IPv4Address,
    "mapped": lambda number: IPv6Address(0xFFFF << 32 | number),
    "compatible": IPv6Address,
    "nat64": lambda number: IPv6Address(int(IPv6Address("64:ff9b::")) | number),
    "local nat64": lambda number: IPv6Address(int(IPv6Address("64:ff9b:1::")) | number),
    "6to4": lambda number: IPv6Address(0x2002 << 112 | number << 80 | 1),
    "teredo server": lambda number: IPv6Address(0x20010000 << 96 | number << 64 | 0xFFFFFFFF),
    "teredo client": lambda number: IPv6Address(0x20010000 << 96 | 0x08080808 << 64 | (number ^ 0xFFFFFFFF)),
    "isatap": lambda number: IPv6Address(0x2A00_1450 << 96 | 0x5EFE << 32 | number),
    "isatap, global": lambda number: IPv6Address(0x2A00_1450 << 96 | 0x0200_5EFE << 32 | number),
}


@st.composite
def private_addresses(draw: st.DrawFn) -> int:
    network = draw(st.sampled_from(PRIVATE))
    return draw(st.integers(int(network.network_address), int(network.broadcast_address)))


@given(number=private_addresses(), form=st.sampled_from(sorted(FORMS)))
def test_a_private_address_is_refused_in_every_form(number, form):
    assert not is_public(str(FORMS[form](number)))


@given(number=st.integers(0, 2**32 - 1))
def test_a_form_is_never_more_public_than_the_address_that_it_holds(number):
    plain = is_public(str(IPv4Address(number)))
    assert not plain or IPv4Address(number).is_global
    assert [form for form, make in FORMS.items() if is_public(str(make(number))) and not plain] == []
    assert is_public(str(FORMS["nat64"](number))) == plain  # where DNS64 is all that there is


@given(network=st.sampled_from(LOCAL_6), offset=st.integers(0, 2**120))
def test_an_ipv6_network_that_is_not_the_worlds_is_closed(network, offset):
    parsed = IPv6Network(network)
    address = IPv6Address(int(parsed.network_address) + offset % parsed.num_addresses)
    public_inside = address in IPv6Network("::ffff:0:0/96") or address in IPv6Network("64:ff9b::/96")
    assert public_inside or not is_public(str(address))


@given(number=st.integers(0, 2**128 - 1))
def test_what_python_calls_private_is_never_public(number):
    address = IPv6Address(number)
    if is_public(str(address)) and address.ipv4_mapped is None:
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize("text", ["8.8.8.8", "93.184.215.14", "2606:4700::6810:84e5", "2a00:1450:4001:830::200e"])
def test_the_world_is_open(text):
    assert ip_address(text).is_global
    assert is_public(text)


@pytest.mark.parametrize(
    "text", ["", "localhost", "8.8.8", "010.0.0.1", "fe80::1%eth0", "2606:4700::1%eth0", "1.2.3.4:80"]
)
def test_what_is_no_address_is_refused(text):
    assert not is_public(text)
