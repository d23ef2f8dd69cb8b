"""What a replica says to its primary until the stream starts: a state machine of lines in, bytes out.

    PING; then in one go AUTH, REPLCONF listening-port, ip-address, capa; then PSYNC

The order, and which errors matter, are stock's (`syncWithMaster` of 7.0): REPLCONF errors are tolerated, because old
primaries know fewer options; an error to PSYNC that names a passing state means "later", any other one "try the old
SYNC".

    handshake = Handshake(plan)
    send(handshake.start())
    while handshake.outcome is None:
        send(handshake.on_line(read_line()))
"""

from __future__ import annotations

from typing import Final

import attrs

from slotmesh.cluster.numbers import to_uint
from slotmesh.node.replication.history import MOST_CREDIBLE_OFFSET, is_replication_id
from slotmesh.node.resp.encoder import encode_command

_PING_TOLERATED: Final = (b"+", b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted")
_PSYNC_LATER: Final = (b"-NOMASTERLINK", b"-LOADING", b"-ERR -NOMASTERLINK")


@attrs.frozen
class HandshakePlan:
    """What this replica will say. `password` empty: no AUTH. `replid` b"?" with offset -1 asks for a full sync.

    `next_offset` is the first byte wanted. `failover`: ask the other side to become the primary (FAILOVER).
    """

    listening_port: int
    announce_ip: bytes = b""
    user: bytes = b""
    password: bytes = b""
    replid: bytes = b"?"
    next_offset: int = -1
    failover: bool = False


@attrs.frozen
class FullSync:
    """A snapshot comes next; the stream behind it starts after `offset` of history `replid`."""

    replid: bytes
    offset: int


@attrs.frozen
class OldSync:
    """The primary knows no PSYNC and was sent SYNC: a snapshot comes next, the stream has no name."""


@attrs.frozen
class Resume:
    """The stream goes on where it broke off; `replid` is its present name, None when the primary did not say."""

    replid: bytes | None


@attrs.frozen
class Failed:
    """The attempt is over. `passing`: the primary is in a state that will pass. `psync`: it was PSYNC that failed."""

    reason: str
    passing: bool = False
    psync: bool = False


Outcome = FullSync | OldSync | Resume | Failed


class Handshake:
    """One handshake. `outcome` is None while it goes on."""

    def __init__(self, plan: HandshakePlan) -> None:
        self._plan = plan
        self._awaited = ["ping"]
        self.outcome: Outcome | None = None
        #: Oddities that do not matter, for the log.
        self.remarks: list[str] = []

    @property
    def stage(self) -> str:
        """What is awaited: "ping", "auth", "listening-port", "ip-address", "capa", "psync"."""
        return self._awaited[0]

    def start(self) -> bytes:
        """The first bytes to send."""
        return encode_command([b"PING"])

    def on_line(self, line: bytes) -> bytes:
        """Take a reply line, without its end; what to send next, which may be nothing."""
        assert self.outcome is None
        stage = self._awaited[0]
        if stage == "psync":
            return self._on_psync(line)
        if not line:
            return b""
        self._awaited.pop(0)
        text = line.decode(errors="replace")
        if stage == "ping":
            if not line.startswith(_PING_TOLERATED):
                self.outcome = Failed(f"Error reply to PING from master: '{text}'")
                return b""
            return self._introduction()
        if line[:1] == b"-":
            if stage == "auth":
                self.outcome = Failed(f"Unable to AUTH to MASTER: {text}")
                return b""
            self.remarks.append(f"(Non critical) Master does not understand REPLCONF {stage}: {text}")
        return b"" if self._awaited else self._psync()

    def _introduction(self) -> bytes:
        plan = self._plan
        parts: list[bytes] = []
        if plan.password:
            self._awaited.append("auth")
            parts.append(encode_command([b"AUTH", *([plan.user] if plan.user else []), plan.password]))
        self._awaited.append("listening-port")
        parts.append(encode_command([b"REPLCONF", b"listening-port", b"%d" % plan.listening_port]))
        if plan.announce_ip:
            self._awaited.append("ip-address")
            parts.append(encode_command([b"REPLCONF", b"ip-address", plan.announce_ip]))
        self._awaited.append("capa")
        parts.append(encode_command([b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"]))
        return b"".join(parts)

    def _psync(self) -> bytes:
        plan = self._plan
        self._awaited.append("psync")
        argv = [b"PSYNC", plan.replid, b"%d" % plan.next_offset]
        return encode_command([*argv, b"FAILOVER"] if plan.failover else argv)

    def _on_psync(self, line: bytes) -> bytes:
        if not line:
            return b""  # the primary keeps the connection alive while it prepares its answer
        words = line.split()
        text = line.decode(errors="replace")
        if words[0] == b"+FULLRESYNC":
            offset = to_uint(words[2], MOST_CREDIBLE_OFFSET) if len(words) == 3 else None
            if offset is not None and is_replication_id(words[1]):
                self.outcome = FullSync(words[1], offset)
            else:
                self.outcome = Failed(f"Master replied with wrong +FULLRESYNC syntax: {text}")
        elif words[0] == b"+CONTINUE":
            named = len(words) > 1 and is_replication_id(words[1])
            self.outcome = Resume(words[1] if named else None)
        elif line.startswith(_PSYNC_LATER):
            self.outcome = Failed(
                f"Master is currently unable to PSYNC but should be in the future: {text}", passing=True, psync=True
            )
        elif self._plan.failover:
            self.outcome = Failed(f"Failover target rejected psync request: {text}", psync=True)
        else:
            self.remarks.append(f"Master does not support PSYNC or is in error state (reply: {text})")
            self.outcome = OldSync()
            return b"SYNC\r\n"
        return b""
