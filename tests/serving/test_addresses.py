"""Addresses: public is what anybody could ask, however an address is written or carried."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.serving.addresses import is_public

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.215.14", "223.255.255.255", "2606:4700::1111", "2001:4860:4860::8888"]
INSIDE = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0", "168.63.129.16"]
EDGES = [
    ("9.255.255.255", True),
    ("10.0.0.0", False),
    ("10.255.255.255", False),
    ("11.0.0.0", True),
    ("100.63.255.255", True),
    ("100.127.255.255", False),
    ("100.128.0.0", True),
    ("172.15.255.255", True),
    ("172.16.0.0", False),
    ("172.31.255.255", False),
    ("172.32.0.0", True),
    ("198.17.255.255", True),
    ("198.19.255.255", False),
    ("168.63.129.15", True),
    ("168.63.129.17", True),
    ("2001:1ff:ffff::", False),
    ("2001:200::", True),
    ("2003::", True),
    ("1fff::", False),
    ("3ffe::", True),
    ("4000::", False),
]


@pytest.mark.parametrize(("address", "public"), EDGES)
def test_edges(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("address", PUBLIC)
def test_public_ones(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("carrier", ["::ffff:", "64:ff9b::"])
def test_carried_ones_are_as_public_as_what_they_carry(carrier: str) -> None:
    assert all(is_public(carrier + one) for one in PUBLIC if "." in one)
    assert not any(is_public(carrier + one) for one in INSIDE)


@pytest.mark.parametrize("carrier", ["::", "::ffff:0:", "64:ff9b:1::", "2001:db8::", "fe80::5efe:", "2606:4700::5efe:"])
def test_in_other_carriers_none_is_public(carrier: str) -> None:
    assert not any(is_public(carrier + one) for one in [*INSIDE, *PUBLIC] if "." in one)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_none_is_public_that_python_knows_to_be_special(address: IPv4Address) -> None:
    special = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
    assert not is_public(str(address)) or (address.is_global and not special)


@given(st.integers(0, 2**128 - 1).map(IPv6Address) | st.integers(0x2 << 124, (0x4 << 124) - 1).map(IPv6Address))
def test_nor_of_ipv6(address: IPv6Address) -> None:
    special = address.is_multicast or address.is_reserved or address.is_site_local or address.is_link_local
    carried = str(address).startswith(("::ffff:", "64:ff9b::"))
    assert not is_public(str(address)) or carried or (address.is_global and not special)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_6to4_and_teredo_lead_nowhere(address: IPv4Address) -> None:
    six = (0x2002 << 112) | (int(address) << 80)
    teredo = (0x2001_0000 << 96) | (int(address) << 64) | (int(address) ^ 0xFFFFFFFF)
    assert IPv6Address(six).sixtofour == address
    assert IPv6Address(teredo).teredo == (address, address)
    assert not is_public(str(IPv6Address(six)))
    assert not is_public(str(IPv6Address(teredo)))


def test_an_address_of_one_interface_is_not_public() -> None:
    assert not is_public("2606:4700::1111%eth0")


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f000001", "2130706433", "[::1]", "1.2.3.4.5", "01.2.3.4"]
)
def test_what_is_no_address_is_not_asked_about(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear"):
        is_public(text)
