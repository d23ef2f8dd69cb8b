"""What goes into the sentinel core and what comes out of it.

The core never touches a socket, a file or a clock. Its driver (trio, or the simulator) turns the outside world into the
events below, calls `step`, and then carries out `take_effects()` in order. A `Persist` always comes before every other
effect of its batch: what a vote or an order rests on is on disk before anybody can see it. Only what is `free`, a
question or the renewal of a lease, waits for no disk: `split_free` says what may overtake a `Persist`. Else a disk that
is slow for a second, in one failover, would end the leases of all shards.

Connections are numbered by the core: a number is used for one TCP connection and never again, so an event of a
connection that the core has given up is recognised by its number and ignored. Replies arrive in the order of the
commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Union

from attrs import frozen

from slotmesh.node.resp.values import NullArray, Status, Verbatim

# The levels of the stock log, by their rank; WARNING also runs the notification script.
DEBUG, VERBOSE, NOTICE, WARNING = 0, 1, 2, 3


@frozen
class ErrorReply:
    """An error received from a peer, or an error to answer with; `text` starts with its code word (`ERR ...`)."""

    text: str


# A reply from a peer, or to a client. A dict is a map in RESP3 and a flat array in RESP2.
Reply = Union[  # noqa: UP007 - a recursive alias cannot be written with | at run time
    bytes, int, None, list["Reply"], dict[bytes, "Reply"], ErrorReply, Status, NullArray, Verbatim
]


# --------------------------------------------------------------------------------------------------------------- events


@frozen
class Tick:
    """Time has passed. `wall_ms` is the wall clock, for the detection of clock jumps; None where there is none."""

    wall_ms: int | None = None


@frozen
class Connected:
    """A connection asked for by `Connect` stands. `local_ip` is our end, the address we announce by default."""

    conn_id: int
    local_ip: str
    remote_ip: str


@frozen
class Closed:
    """A connection is gone, or never came. `refused`: the peer's kernel answered that nobody listens there."""

    conn_id: int
    refused: bool
    reason: str


@frozen
class Replied:
    """The next reply (or pub/sub message) on a connection."""

    conn_id: int
    value: Reply


@frozen
class Request:
    """A command of a client or of another sentinel. Answered by exactly one `Respond` with the same number."""

    request_id: int
    argv: tuple[bytes, ...]


@frozen
class Resolved:
    """The outcome of a name look-up; `ip` is empty when the name is unknown."""

    host: str
    ip: str


@frozen
class ScriptStarted:
    job_id: int
    pid: int


@frozen
class ScriptEnded:
    """A script is over. `signal` is 0 unless a signal ended it."""

    job_id: int
    exit_code: int
    signal: int


@frozen
class Stored:
    """How the last `Persist` went. After a failure the core casts no vote and starts no failover until one succeeds."""

    ok: bool


Event = Tick | Connected | Closed | Replied | Request | Resolved | ScriptStarted | ScriptEnded | Stored


# -------------------------------------------------------------------------------------------------------------- effects


@frozen
class Persist:
    """Replace the config file by `content`, synced, before anything else of the batch happens."""

    content: str


@frozen
class Connect:
    conn_id: int
    host: str
    port: int


@frozen
class Disconnect:
    conn_id: int


@frozen
class Send:
    """`free`: it rests on nothing that has yet to be saved."""

    conn_id: int
    argv: tuple[bytes, ...]
    free: bool = False


@frozen
class Respond:
    request_id: int
    reply: Reply


@frozen
class Emit:
    """A sentinel event: logged at `level`, published to subscribers of `channel` unless it is DEBUG."""

    level: int
    channel: str
    message: str


@frozen
class Log:
    level: int
    message: str


@frozen
class Resolve:
    """Look `host` up; answered by a `Resolved` event."""

    host: str


@frozen
class RunScript:
    job_id: int
    argv: tuple[str, ...]


@frozen
class KillScript:
    job_id: int


@frozen
class Exit:
    """End the process (SENTINEL SIMULATE-FAILURE)."""

    code: int


Effect = Persist | Connect | Disconnect | Send | Respond | Emit | Log | Resolve | RunScript | KillScript | Exit


def split_free(effects: Sequence[Effect], held: set[int]) -> tuple[list[Send], list[Effect]]:
    """What of `effects` may be carried out at once although something has to be saved first, and the rest.

    What goes over one connection keeps its order: nothing overtakes on those in `held`, to which those of the rest are
    added.
    """
    free: list[Send] = []
    rest: list[Effect] = []
    for effect in effects:
        if isinstance(effect, Send) and effect.free and effect.conn_id not in held:
            free.append(effect)
            continue
        rest.append(effect)
        if isinstance(effect, Send | Connect | Disconnect):
            held.add(effect.conn_id)
    return free, rest
