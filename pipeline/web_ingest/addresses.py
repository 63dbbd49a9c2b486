"""Which addresses may be connected to: public unicast ones alone, also where an IPv6 address holds an IPv4 one.

`ipaddress`'s flags are not enough: they differ between versions of Python, call 6to4 and NAT64 forms of private
addresses global, and do not know that a cloud answers on a public one.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

AddressRule = Callable[[str], bool]

# IANA's special-purpose registry, what it calls not globally reachable, and what is unicast in name alone.
_CLOSED_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network; Linux connects to itself
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared by carriers; a cloud's metadata at 100.100.100.200
            "127.0.0.0/8",
            "168.63.129.16/32",  # a public address on which Azure's hosts answer their own machines
            "169.254.0.0/16",  # link-local: metadata of most clouds
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
        ),
    )
)
_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
_CLOSED_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocols: Teredo (a server and a client of IPv4), ORCHID, benchmarks
            "2001:db8::/32",  # documentation
            "2620:4f:8000::/48",
            "3fff::/20",  # documentation
        ),
    )
)
_MAPPED, _NAT64, _SIX_TO_FOUR = IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16")
_ISATAP = {0x00005EFE, 0x02005EFE}  # the third quarter of an address that ends with an IPv4 one


def is_public(text: str) -> bool:
    """Whether an address, as text, is a public unicast one; False for what is no address, or names an interface."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    if address.scope_id is not None:
        return False
    embedded = _embedded(address)
    if embedded is not None:
        return is_public(str(embedded))
    return address in _GLOBAL_UNICAST_6 and not any(address in network for network in _CLOSED_6)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to `address` reach in the end.

    Others that hold one are closed as a whole: Teredo, IPv4-compatible ones, the local NAT64 of 64:ff9b:1::/48.
    """
    number = int(address)
    if address in _SIX_TO_FOUR:
        return IPv4Address(number >> 80 & 0xFFFFFFFF)
    if address in _MAPPED or address in _NAT64 or number >> 32 & 0xFFFFFFFF in _ISATAP:
        return IPv4Address(number & 0xFFFFFFFF)
    return None
