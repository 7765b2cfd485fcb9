"""Which IP addresses belong to the public internet.

Knows the special-purpose registries of IANA (RFC 6890) and how IPv6 carries IPv4 inside. The lists are ours: those of
Python's `ipaddress` differ between its versions, and count multicast and site-local addresses as global. Does not know
names, nor who asks.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_SPECIAL = tuple(
    IPv4Network(one)
    for one in (
        "0.0.0.0/8",  # this host; Linux connects to itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers; Alibaba's metadata is at 100.100.100.200
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own server of every virtual machine, though it looks public
        "169.254.0.0/16",  # link-local, and the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocols; Oracle's metadata is at 192.0.0.192
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_UNICAST_6 = IPv6Network("2000::/3")
"""All of IPv6 that is given out; local, link-local, site-local and multicast addresses lie outside."""
_SPECIAL_6 = tuple(
    IPv6Network(one)
    for one in (
        "2001::/23",  # protocols, among them Teredo: it leads on to an IPv4 address inside
        "2001:db8::/32",
        "2002::/16",  # 6to4: so does it
        "3fff::/20",
    )
)
_CARRIERS = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""IPv4 in its last 32 bits, mapped or by NAT64: as public as what they carry. IPv4-compatible ones (`::/96`) and NAT64
of local use (`64:ff9b:1::/48`) are never."""
_ISATAP = 0x00005EFE
_ISATAP_MASK = 0xFCFFFFFF


def is_public(text: str) -> bool:
    """Whether an address, as systems write it, is one that anybody on the internet could ask.

    Raises:
        ValueError: it is no address.
    """
    address = ip_address(text)
    return _is_public_6(address) if isinstance(address, IPv6Address) else _is_public_4(address)


def _is_public_4(address: IPv4Address) -> bool:
    return not any(address in one for one in _SPECIAL)


def _is_public_6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if any(address in one for one in _CARRIERS):
        return _is_public_4(IPv4Address(int(address) & 0xFFFFFFFF))
    if (int(address) >> 32) & _ISATAP_MASK == _ISATAP:  # a tunnel inside one site, to the IPv4 address behind
        return False
    return address in _UNICAST_6 and not any(address in one for one in _SPECIAL_6)
