"""IP addresses as text: what peers, files and operators may call one."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

_MAX_LENGTH = 45
"""What the 46 bytes of the bus protocol's address fields hold besides their end."""

_LITERAL = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[0-9A-Za-z._-]+)?")


_HOST_NAME = re.compile(r"(?!-)[0-9A-Za-z_-]{1,63}(?:\.[0-9A-Za-z_-]{1,63})*\.?")
_MAX_HOST_NAME = 253


def is_host_name(text: str) -> bool:
    """Whether a text has the form of a name that can be looked up: labels of at most 63 letters, digits and hyphens."""
    return len(text) <= _MAX_HOST_NAME and _HOST_NAME.fullmatch(text) is not None


def is_ip(text: str) -> bool:
    """Whether ``text`` is an IPv4 or IPv6 address (with a zone, if any) that the bus protocol can carry.

    A name is none. Nobody may make this node look up a name by telling one: look-ups block, and lead where the teller
    likes. Stock takes MEET's address through inet_pton for the same reason.
    """
    return bool(normal_ip(text))


@lru_cache(maxsize=4096)
def normal_ip(text: str) -> str:
    """The address in its shortest form; empty when it is none. Every hello and every gossip entry has some."""
    if len(text) > _MAX_LENGTH or _LITERAL.fullmatch(text) is None:
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""
