"""The text of ``nodes.conf``, stock's own format, both ways: a stock node starts from our file and we from its.

One line per known node, the same as in ``CLUSTER NODES``::

    <id> <ip>:<port>@<cport>[,<hostname>[,<name>=<value>...]] <flags> <primary id or -> <ping sent> <pong received>
        <config epoch> <connected or disconnected> [<slot or range>...] [[<slot>->-<id>] or [<slot>-<-<id>]...]

and a line ``vars currentEpoch <n> lastVoteEpoch <n> [<name> <value>...]``. Stock skips vars it does not know (with a
line in its log), so ours ride there: the shard id, the newest obeyed fence, the guard. Unknown ones are kept.

The ``name=value`` pairs after the hostname (``shard-id``, ``nodename``, ``tcp-port``, ``tls-port``) came with stock
7.2; 7.0 would take them for part of the hostname. So they are read always, but written only when the file that was
loaded had them.

Pure text here; ``snapshot`` fills it from the live state, and the driver owns the file.
"""

from __future__ import annotations

import re

from attrs import Factory, frozen

from slotmesh.cluster.messages import NodeAddress
from slotmesh.cluster.numbers import INT64_MAX, to_uint
from slotmesh.cluster.slot_set import NO_SLOTS, SlotSet
from slotmesh.cluster.slots import SLOT_COUNT
from slotmesh.cluster.terms import FLAG_PRIMARY, FLAG_REPLICA, decode_flags, encode_flags

_ID = re.compile(r"[0-9a-z]{40}\Z")
_OPEN_SLOT = re.compile(r"\[([0-9]{1,5})-([<>])-([0-9a-z]{40})\]\Z")
_ADDRESS = re.compile(r"[0-9A-Za-z:.%_-]{0,255}\Z")
_NAME = re.compile(r"[0-9A-Za-z._-]{0,255}\Z")
_MAX_PORT = 65535
_MAX_SHOWN = 80
CPORT_OFFSET = 10_000
"""Distance of bus port and client port where a file (older than stock 4) does not name the bus port."""


class StateFileError(Exception):
    """The file is damaged; the text names the line and what is wrong. The node must not start with it."""


@frozen
class SavedNode:
    """One line about a node. ``flags`` are wire bits; ``aux`` the name=value pairs in their order."""

    node_id: str
    address: NodeAddress
    flags: int = 0
    primary_id: str = ""
    ping_sent_ms: int = 0
    pong_received_ms: int = 0
    config_epoch: int = 0
    connected: bool = False
    slots: SlotSet = NO_SLOTS
    migrating_to: tuple[tuple[int, str], ...] = ()
    importing_from: tuple[tuple[int, str], ...] = ()
    aux: tuple[tuple[str, str], ...] = ()


@frozen
class SavedState:
    """A whole file. ``variables`` holds every var in file order but the two of stock."""

    nodes: tuple[SavedNode, ...]
    current_epoch: int = 0
    last_vote_epoch: int = 0
    variables: dict[str, str] = Factory(dict)

    @property
    def has_aux(self) -> bool:
        """Whether the file is in the form of stock 7.2 and later."""
        return any(node.aux for node in self.nodes)


def encode_node_line(node: SavedNode) -> str:
    """One line without its newline, as in ``CLUSTER NODES``."""
    address = node.address
    place = f"{address.ip}:{address.port}@{address.cport}"
    if address.hostname or node.aux:
        place += f",{address.hostname}"
    for name, value in node.aux:
        place += f",{name}={value}"
    words = [
        node.node_id,
        place,
        encode_flags(node.flags),
        node.primary_id or "-",
        str(node.ping_sent_ms),
        str(node.pong_received_ms),
        str(node.config_epoch),
        "connected" if node.connected else "disconnected",
    ]
    if node.slots:
        words.append(node.slots.to_text())
    if node.migrating_to or node.importing_from:
        opened = [(slot, f"[{slot}->-{other}]") for slot, other in node.migrating_to]
        opened += [(slot, f"[{slot}-<-{other}]") for slot, other in node.importing_from]
        words += [text for _, text in sorted(opened)]
    return " ".join(words)


def encode_state(state: SavedState) -> str:
    """The whole file."""
    lines = [encode_node_line(node) for node in state.nodes]
    words = ["vars", "currentEpoch", str(state.current_epoch), "lastVoteEpoch", str(state.last_vote_epoch)]
    for name, value in state.variables.items():
        words += [name, value]
    lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def _number(text: str, what: str, most: int = INT64_MAX) -> int:
    value = to_uint(text, most)
    if value is None:
        raise StateFileError(f"{what} is no number in range: {_shown(text)}")
    return value


def _shown(text: str) -> str:
    """What is wrong, short enough for one line of a log."""
    return repr(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "...")


def is_node_id(text: str) -> bool:
    """Whether a text has the form of a node id or shard id."""
    return _ID.match(text) is not None


def _node_id(text: str, what: str) -> str:
    if not is_node_id(text):
        raise StateFileError(f"{what} is no node id: {_shown(text)}")
    return text


def _decode_place(text: str) -> tuple[NodeAddress, tuple[tuple[str, str], ...]]:
    place, *rest = text.split(",")
    hostname = rest[0] if rest else ""
    aux = []
    for pair in rest[1:]:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise StateFileError(f"bad name=value pair: {_shown(pair)}")
        if name == "shard-id":
            _node_id(value, "shard id")
        elif name == "nodename" and _NAME.match(value) is None:
            raise StateFileError(f"bad node name: {_shown(value)}")
        aux.append((name, value))
    ip, colon, ports = place.rpartition(":")
    if not colon:
        raise StateFileError(f"no port in address: {_shown(text)}")
    if _ADDRESS.match(ip) is None or _NAME.match(hostname) is None:
        raise StateFileError(f"bad address: {_shown(text)}")
    port_text, at, cport_text = ports.partition("@")
    port = _number(port_text, "port", _MAX_PORT)
    cport = _number(cport_text if at else str(port + CPORT_OFFSET), "bus port", _MAX_PORT)
    return NodeAddress(ip, port, cport, hostname), tuple(aux)


def _decode_slots(
    words: list[str],
) -> tuple[SlotSet, tuple[tuple[int, str], ...], tuple[tuple[int, str], ...]]:
    migrating: list[tuple[int, str]] = []
    importing: list[tuple[int, str]] = []
    plain: list[str] = []
    for word in words:
        if not word.startswith("["):
            plain.append(word)
            continue
        opened = _OPEN_SLOT.match(word)
        slot = to_uint(opened[1], SLOT_COUNT - 1) if opened is not None else None
        if opened is None or slot is None:
            raise StateFileError(f"bad open slot: {_shown(word)}")
        (migrating if opened[2] == ">" else importing).append((slot, opened[3]))
    try:
        slots = SlotSet.from_text(" ".join(plain))
    except ValueError as error:
        raise StateFileError(_shown(str(error))[1:-1]) from error
    return slots, tuple(migrating), tuple(importing)


def _decode_node(words: list[str]) -> SavedNode:
    if len(words) < 8:
        raise StateFileError("a node line has at least eight fields")
    address, aux = _decode_place(words[1])
    try:
        flags = decode_flags(words[2])
    except ValueError as error:
        raise StateFileError(_shown(str(error))[1:-1]) from error
    if flags & (FLAG_PRIMARY | FLAG_REPLICA) == FLAG_PRIMARY | FLAG_REPLICA:
        raise StateFileError("a node that is both master and slave")
    slots, migrating, importing = _decode_slots(words[8:])
    return SavedNode(
        node_id=_node_id(words[0], "first field"),
        address=address,
        flags=flags,
        primary_id="" if words[3] == "-" else _node_id(words[3], "primary"),
        ping_sent_ms=_number(words[4], "ping time"),
        pong_received_ms=_number(words[5], "pong time"),
        config_epoch=_number(words[6], "config epoch"),
        connected=words[7] == "connected",
        slots=slots,
        migrating_to=migrating,
        importing_from=importing,
        aux=aux,
    )


def decode_state(text: str) -> SavedState:
    """The state in a file's text; :class:`StateFileError` when anything in it is not understood."""
    nodes: list[SavedNode] = []
    variables: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        if not words:
            continue
        try:
            if words[0] == "vars":
                if len(words) % 2 == 0:
                    raise StateFileError("a var without value")
                variables.update(zip(words[1::2], words[2::2], strict=True))
            else:
                nodes.append(_decode_node(words))
        except StateFileError as error:
            raise StateFileError(f"line {number}: {error}") from error
    current_epoch = _number(variables.pop("currentEpoch", "0"), "currentEpoch")
    last_vote_epoch = _number(variables.pop("lastVoteEpoch", "0"), "lastVoteEpoch")
    return SavedState(tuple(nodes), current_epoch, last_vote_epoch, variables)
