"""Recognize addresses that only this machine or its network reaches: other hosts may not redirect us there."""

import socket
from functools import cache


@cache
def is_private(host: str) -> bool:
    """Whether a host name or address leads to such an address. False where this machine can't resolve the name: then it
    can't be reached, or a proxy resolves it."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(is_inside(str(address[0])) for *_, address in found)


def is_inside(address: str) -> bool:
    """Whether an IP address is private, loopback, link-local or otherwise not public; also an IPv6 address that embeds
    such an IPv4 address."""
    from ipaddress import IPv6Address, ip_address, ip_network  # seldom needed

    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        carried = ip.ipv4_mapped or ip.sixtofour
        if carried is None and ip in ip_network("64:ff9b::/96"):
            carried = ip_address(int(ip) & 0xFFFFFFFF)  # type: ignore[assignment]
        if carried is not None:
            return is_inside(str(carried))
    return not ip.is_global or ip.is_multicast
