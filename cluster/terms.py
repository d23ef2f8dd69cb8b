"""The one place where our words meet the wire's.

Inside, a node is a *primary* or a *replica*. The bus protocol, ``nodes.conf`` and the replies of stock say *master* and
*slave*, as bits or as words; both are translated here, and nowhere else.
"""

from __future__ import annotations

# Bits of the 16-bit flags field of a header or gossip entry.
FLAG_PRIMARY = 1
FLAG_REPLICA = 2
FLAG_PFAIL = 4
FLAG_FAIL = 8
FLAG_MYSELF = 16
FLAG_HANDSHAKE = 32
FLAG_NOADDR = 64
FLAG_MEET = 128
FLAG_MIGRATE_TO = 256
FLAG_NOFAILOVER = 512
FLAG_EXTENSIONS = 1024

# Bits of a header's message flags, three bytes of which stock uses the first, from its lowest bit on.
MESSAGE_PAUSED = 1
"""The sender, a primary, has paused its writers for a manual failover: ``offset`` is final."""
MESSAGE_FORCE_ACK = 2
"""Vote even though the primary is up (manual failover)."""
MESSAGE_EXTENSIONS = 4
"""Extensions follow the gossip, or: the sender understands them."""
MESSAGE_SHARES_OPEN_SLOTS = 1 << 23
"""The sender tells the nodes of its shard which slots are open, and listens (ours only; docs/adr/0033)."""

_WORDS: tuple[tuple[int, str], ...] = (
    (FLAG_MYSELF, "myself"),
    (FLAG_PRIMARY, "master"),
    (FLAG_REPLICA, "slave"),
    (FLAG_PFAIL, "fail?"),
    (FLAG_FAIL, "fail"),
    (FLAG_HANDSHAKE, "handshake"),
    (FLAG_NOADDR, "noaddr"),
    (FLAG_NOFAILOVER, "nofailover"),
)
_BITS = {word: bit for bit, word in _WORDS} | {"noflags": 0}


def encode_flags(flags: int) -> str:
    """The comma-joined words of ``CLUSTER NODES`` in stock's order; ``noflags`` when none applies."""
    return ",".join(word for bit, word in _WORDS if flags & bit) or "noflags"


def decode_flags(text: str) -> int:
    """The bits of a comma-joined list of words; ``ValueError`` names an unknown word."""
    flags = 0
    for word in text.split(","):
        if word not in _BITS:
            raise ValueError(f"unknown node flag: {word!r}")
        flags |= _BITS[word]
    return flags


def role_of(flags: int) -> int:
    """The role bit of a flags field; 0 where none is set, and where both are."""
    role = flags & (FLAG_PRIMARY | FLAG_REPLICA)
    return role if role != FLAG_PRIMARY | FLAG_REPLICA else 0
