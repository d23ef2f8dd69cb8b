"""The commands a sentinel knows, as COMMAND tells them and as ACL rules see them.

One row per command: arity as stock counts it (with the name; negative: at least), flags, categories. The subcommands of
SENTINEL come from the table that executes them.
"""

from __future__ import annotations

from attrs import frozen

from slotmesh.node.resp.values import Status
from slotmesh.sentinel.commands import ANY, SUBCOMMANDS
from slotmesh.sentinel.effects import Reply
from slotmesh.sentinel.help import SUMMARIES


@frozen
class Row:
    """One command or subcommand (`container|sub`)."""

    name: bytes
    arity: int
    flags: str
    categories: str
    group: str
    since: str
    summary: str

    @property
    def container(self) -> bytes:
        """The container of a subcommand, else empty."""
        head, bar, _ = self.name.partition(b"|")
        return head if bar else b""


_ANYTIME = "loading stale"
_CONN = f"noscript {_ANYTIME}"
_ADMIN = f"admin {_CONN}"
_BASE: tuple[tuple[str, int, str, str, str, str, str], ...] = (
    ("acl", -2, "", "slow", "server", "6.0.0", "Commands about users and their rights."),
    ("acl|cat", -2, _CONN, "slow", "server", "6.0.0", "Categories, or the commands of one."),
    ("acl|list", 2, _ADMIN, "admin slow dangerous", "server", "6.0.0", "All users as rules."),
    ("acl|users", 2, _ADMIN, "admin slow dangerous", "server", "6.0.0", "The names of all users."),
    ("acl|whoami", 2, _CONN, "slow", "server", "6.0.0", "The user of this connection."),
    ("auth", -2, f"{_CONN} fast no_auth allow_busy", "fast connection", "connection", "1.0.0", "Log in."),
    ("client", -2, "", "slow", "connection", "2.4.0", "Commands about connections."),
    ("client|getname", 2, _CONN, "slow connection", "connection", "2.6.9", "The name of this connection."),
    ("client|id", 2, _CONN, "slow connection", "connection", "5.0.0", "The id of this connection."),
    ("client|info", 2, _CONN, "slow connection", "connection", "6.2.0", "Facts about this connection."),
    ("client|kill", -3, _ADMIN, "admin slow dangerous connection", "connection", "2.4.0", "Close connections."),
    ("client|list", -2, _ADMIN, "admin slow dangerous connection", "connection", "2.4.0", "All connections."),
    ("client|no-evict", 3, _ADMIN, "admin slow dangerous connection", "connection", "7.0.0", "Accepted; no effect."),
    ("client|setname", 3, _CONN, "slow connection", "connection", "2.6.9", "Name this connection."),
    ("command", -1, _ANYTIME, "slow connection", "server", "2.8.13", "Facts about all commands."),
    ("command|count", 2, _ANYTIME, "slow connection", "server", "2.8.13", "How many commands there are."),
    ("command|docs", -2, _ANYTIME, "slow connection", "server", "7.0.0", "Documentation of commands."),
    ("command|info", -2, _ANYTIME, "slow connection", "server", "2.8.13", "Facts about some commands."),
    ("command|list", -2, _ANYTIME, "slow connection", "server", "7.0.0", "The names of all commands."),
    ("hello", -1, f"{_CONN} fast no_auth allow_busy", "fast connection", "connection", "6.0.0", "Greet the server."),
    ("info", -1, _ANYTIME, "slow dangerous", "server", "1.0.0", "State of this sentinel."),
    ("ping", -1, "fast", "fast connection", "connection", "1.0.0", "Answered by PONG."),
    ("psubscribe", -2, f"pubsub {_CONN}", "pubsub slow", "pubsub", "2.0.0", "Listen to channels by pattern."),
    ("publish", 3, f"pubsub {_ANYTIME} fast", "pubsub fast", "pubsub", "2.0.0", "Hand over a hello message."),
    ("punsubscribe", -1, f"pubsub {_CONN}", "pubsub slow", "pubsub", "2.0.0", "Stop listening by pattern."),
    ("role", 1, f"{_CONN} fast", "admin fast dangerous", "server", "2.8.12", "The monitored primaries."),
    ("sentinel", -2, "admin", "admin slow dangerous", "sentinel", "2.8.4", "Commands of the sentinel."),
    ("shutdown", -1, f"{_ADMIN} no_multi allow_busy", "admin slow dangerous", "server", "1.0.0", "End the process."),
    ("subscribe", -2, f"pubsub {_CONN}", "pubsub slow", "pubsub", "2.0.0", "Listen to channels."),
    ("unsubscribe", -1, f"pubsub {_CONN}", "pubsub slow", "pubsub", "2.0.0", "Stop listening."),
)


def _rows() -> dict[bytes, Row]:
    rows = [Row(base[0].encode(), *base[1:]) for base in _BASE]
    for name, (_, least, most) in SUBCOMMANDS.items():
        arity = -(least + 2) if most == ANY else least + 2
        facts = (_ANYTIME, "slow") if name == "help" else ("admin", "admin slow dangerous")
        rows.append(Row(f"sentinel|{name}".encode(), arity, *facts, "sentinel", "2.8.4", SUMMARIES[name]))
    return {row.name: row for row in sorted(rows, key=lambda row: row.name)}


ROWS = _rows()


def _subrows(container: bytes) -> list[Row]:
    return [row for row in ROWS.values() if row.container == container]


def info_of(row: Row) -> Reply:
    """One entry of COMMAND and COMMAND INFO."""
    return [
        row.name,
        row.arity,
        [Status(flag.encode()) for flag in row.flags.split()],
        0,
        0,
        0,
        [Status(b"@" + word.encode()) for word in row.categories.split()],
        [],
        [],
        [info_of(sub) for sub in _subrows(row.name)],
    ]


def docs_of(row: Row) -> Reply:
    """One entry of COMMAND DOCS."""
    docs: dict[bytes, Reply] = {
        b"summary": row.summary.encode(),
        b"since": row.since.encode(),
        b"group": row.group.encode(),
    }
    subs = _subrows(row.name)
    if subs:
        docs[b"subcommands"] = {sub.name: docs_of(sub) for sub in subs}
    return docs


def top_rows() -> list[Row]:
    """All commands without the subcommands."""
    return [row for row in ROWS.values() if not row.container]


def find_row(words: list[bytes]) -> Row | None:
    """The row that a request runs: the subcommand's where there is one."""
    name = words[0].lower()
    sub = name + b"|" + words[1].lower() if len(words) > 1 else b""
    return ROWS.get(sub) or ROWS.get(name)
