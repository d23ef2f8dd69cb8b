"""The records of what a sentinel watches: addresses, links, instances, failover units.

Data first: everything the sentinel knows is reachable from these records, and they hold no behaviour beyond small
questions about themselves. The rules live in the modules named after them (detector, election, selection, failover...).

- `Unit`: one primary, its replicas, and the other sentinels that watch the same primary. It fails over as a whole. A
  plain `sentinel monitor` line is one unit; a guarded cluster is a `Guard` with one unit per shard.
- `Instance`: one process as seen from one unit. Other sentinels appear once per unit, and share one `Link`.
- `Link`: the two connections to a process (commands; pub/sub, not for sentinels) and when it last gave signs of life.

Times are the driver's monotonic milliseconds; 0 means never. `due_ms` is the next time a record wants to be reviewed.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import Factory, define, frozen

# Roles, inside. On the wire they are "master", "slave" and "sentinel": see `wire_role`.
PRIMARY, REPLICA, SENTINEL = "primary", "replica", "sentinel"
_WIRE_ROLES = {PRIMARY: "master", REPLICA: "slave", SENTINEL: "sentinel"}

DEFAULT_DOWN_AFTER_MS = 30_000
DEFAULT_FAILOVER_TIMEOUT_MS = 180_000
DEFAULT_PARALLEL_SYNCS = 1
DEFAULT_PRIORITY = 100

# Whether a primary without a cluster is guarded by leases; `AUTO`: where there are enough sentinels for it.
LOST = -1
"""In place of a connection's id: its last grants were not answered, so the node may see them whenever it likes."""

GUARD_YES, GUARD_NO, GUARD_AUTO = GUARD_WORDS = ("yes", "no", "auto")


def wire_role(role: str) -> str:
    """The word the protocol uses for a role."""
    return _WIRE_ROLES[role]


@frozen
class Address:
    """Where a process listens. `host` as it was given; `ip` what it resolved to, empty while unknown. Port 0:
    invalid.
    """

    host: str
    port: int
    ip: str

    def same_place(self, other: Address) -> bool:
        """Equal by port and by IP, or by name while one of them could not be resolved."""
        if self.port != other.port:
            return False
        return (self.ip != "" and self.ip == other.ip) or self.host.lower() == other.host.lower()


@define(eq=False)
class Pending:
    """A command under way on a connection: what to do with its reply, and for which instance."""

    kind: int
    instance: Instance
    note: int = 0


@define(eq=False)
class Channel:
    """One TCP connection as the core sees it. `conn_id` 0: none; `up`: established, commands may be sent."""

    pubsub: bool
    conn_id: int = 0
    up: bool = False
    since_ms: int = 0
    pending: deque[Pending] = Factory(deque)


@define(eq=False)
class Link:
    """Both connections to one process and its signs of life.

    `act_ping_ms` is when the oldest unanswered PING was sent (0: all answered); it starts at the birth of the link, so
    that a process that never answers is found out. It outlives reconnections.
    """

    commands: Channel
    pubsub: Channel | None
    act_ping_ms: int
    last_avail_ms: int
    last_pong_ms: int
    last_ping_ms: int = 0
    retry_at_ms: int = 0
    heard_ms: int = 0  # last message on the pub/sub connection
    refusals: int = 0  # refused attempts in a row
    hung_up: bool = False  # it has ended a connection on which it had answered, and no other one was made since
    met: bool = False  # it has answered a PING at least once since we watch it
    born_ms: int = 0  # start, or first answer, of the process that is there now; 0: none yet, or it is gone
    users: int = 1
    local_ip: str = ""

    @property
    def complete(self) -> bool:
        """Whether every connection this link wants is up."""
        return self.commands.up and (self.pubsub is None or self.pubsub.up)

    def channels(self) -> list[Channel]:
        return [self.commands] if self.pubsub is None else [self.commands, self.pubsub]


def new_link(now_ms: int, *, pubsub: bool) -> Link:
    return Link(Channel(False), Channel(True) if pubsub else None, now_ms, now_ms, now_ms)


@define(eq=False)
class ReplicaState:
    """What INFO of a replica said, and how far its reconfiguration after a failover has come."""

    primary_host: str = ""
    primary_port: int = 0
    primary_link_up: bool = False
    primary_link_down_ms: int = 0
    never_linked: bool = False  # it has had no link to its primary since it started, or since it got that primary
    priority: int = DEFAULT_PRIORITY
    offset: int = 0
    announced: bool = True
    conf_change_ms: int = 0
    promoted: bool = False
    reconf: str = ""  # "", "sent", "inprog", "done"
    reconf_sent_ms: int = 0


@define(eq=False)
class PeerState:
    """What another sentinel said about the unit's primary, and whom it voted for."""

    hello_heard_ms: int = 0
    primary_down: bool = False
    reply_ms: int = 0  # last answer to is-master-down-by-addr
    asked_ms: int = 0
    asking: int = 0  # questions under way
    voted_for: str = ""
    vote_epoch: int = 0


@define(eq=False)
class LeaseState:
    """The write lease this sentinel grants to a guarded node of ours; see `leases`."""

    echo_ms: int = 0  # the node's clock in its last reply; 0: none on this connection
    echo_heard_ms: int = 0  # when that reply came, by our clock
    granted_until_ms: int = 0  # by our clock: no lease of ours can be alive at or after this
    granted_echo_ms: int = 0  # the echo of the last grant: granting on it again is worth nothing
    called_ms: int = 0  # the node's clock in the last call for a GUARD that we followed
    grant_conn_id: int = 0  # the connection of the last grants; LOST: it is gone, and some were not answered
    elsewhere_until_ms: int = 0  # by our clock: no lease that was LOST before that connection is alive at or after this
    sent_ms: int = 0
    refused_until_ms: int = 0  # it takes no GUARD: not asked again before


@define(eq=False)
class Instance:
    """One watched process, seen from one unit. See the module docstring for how 0 and times are used."""

    role: str
    name: str  # the unit's name, ip:port of a replica, or the run id of a sentinel
    address: Address
    link: Link
    settings: Settings
    unit: Unit | None
    run_id: str = ""
    sdown: bool = False
    sdown_since_ms: int = 0
    info_heard_ms: int = 0
    info_sent_ms: int = 0  # 0: none under way
    info_wanted: bool = False  # ask as soon as possible, whatever the period
    info_text: bytes | None = None
    role_reported: str = ""
    role_reported_ms: int = 0
    rebooted_ms: int = 0  # 0: no reboot under suspicion
    returned_ms: int = 0  # when it was seen as a primary after a restart that we noticed, and as nothing else since
    hello_sent_ms: int = 0
    # Of the cluster, when guarded.
    guard: Guard | None = None
    node_id: str = ""
    ours: bool = False
    guarded: bool = False  # by its INFO: writes need leases of sentinels
    leased: bool = False  # by its INFO: a guarded primary that takes writes
    leasable: bool = False  # outside a cluster: it has answered GUARD
    no_failover: bool = False
    confirmed_conn_id: int = 0  # the connection on which the node told the id we expect; 0: none yet
    missing_views: int = 0  # views of the cluster in a row that lacked this node
    replica: ReplicaState = Factory(ReplicaState)
    peer: PeerState = Factory(PeerState)
    lease: LeaseState = Factory(LeaseState)
    # Scheduling.
    due_ms: int = 0
    touched: bool = False
    removed: bool = False

    @property
    def lease_id(self) -> str:
        """By which the holder of a lease is remembered: its node id, or where it listens."""
        return self.node_id or f"{self.address.host}:{self.address.port}"


@define(eq=False)
class Settings:
    """What an operator sets for a primary; a guarded cluster has one for all its shards."""

    quorum: int
    down_after_ms: int = DEFAULT_DOWN_AFTER_MS
    failover_timeout_ms: int = DEFAULT_FAILOVER_TIMEOUT_MS
    parallel_syncs: int = DEFAULT_PARALLEL_SYNCS
    reboot_down_after_ms: int = 0
    guard: str = GUARD_AUTO
    auth_pass: str = ""
    auth_user: str = ""
    notification_script: str = ""
    client_reconfig_script: str = ""
    renamed: dict[str, str] = Factory(dict)  # upper-case command -> the name the servers know it by


# Failover states, by the order they are passed; the words are those of SENTINEL MASTER.
NONE, WAIT_START, SELECT, SEND_ORDER, WAIT_PROMOTION, RECONF, UPDATE_CONFIG = range(7)
STATE_WORDS = (
    "none",
    "wait_start",
    "select_slave",
    "send_slaveof_noone",
    "wait_promotion",
    "reconf_slaves",
    "update_config",
)

#: The states that may follow each. An attempt is given up (NONE) until its promotion is confirmed, and from RECONF on
#: only when a newer configuration has overtaken it. One that succeeds ends with a fresh `FailoverState`.
NEXT_STATES: Final[dict[int, frozenset[int]]] = {
    NONE: frozenset({WAIT_START}),
    WAIT_START: frozenset({SELECT, NONE}),
    SELECT: frozenset({SEND_ORDER, NONE}),
    SEND_ORDER: frozenset({WAIT_PROMOTION, NONE}),
    WAIT_PROMOTION: frozenset({RECONF, NONE}),
    RECONF: frozenset({UPDATE_CONFIG, NONE}),
    UPDATE_CONFIG: frozenset({NONE}),
}


@define(eq=False)
class FailoverState:
    """A failover this sentinel tries to lead."""

    state: int = NONE
    epoch: int = 0
    start_ms: int = 0  # when the attempt started, or when we voted for another leader
    change_ms: int = 0  # last change of `state`
    forced: bool = False
    promoted: Instance | None = None
    blocked_until_ms: int = 0  # no attempt of ours before this
    deferred_to: str = ""  # the leader we voted for and give way to
    attempts: int = 0  # lost elections in a row
    hopeless: bool = False  # our last attempt found nobody to promote
    order_sent: bool = False  # the promotion went out; its confirmation is awaited
    graceful_until_ms: int = 0  # a coordinated failover may take until then
    hand_over_refused: bool = False  # the plain primary cannot be asked to let the replica take its place

    @property
    def active(self) -> bool:
        return self.state != NONE

    def enter(self, state: int, now_ms: int) -> None:
        """Go on to `state`. Raises AssertionError for one that may not follow the present one."""
        assert state in NEXT_STATES[self.state], f"{STATE_WORDS[state]} after {STATE_WORDS[self.state]}"
        self.state, self.change_ms = state, now_ms


@frozen
class Hold:
    """What a vote obliges us to: no write lease in the shard until then, or until `candidate` gives the vote back."""

    candidate: str
    until_ms: int


@define(eq=False)
class Unit:
    """One failover unit."""

    name: str
    settings: Settings
    primary: Instance = None  # type: ignore[assignment]  # set right after construction: they refer to each other
    replicas: dict[str, Instance] = Factory(dict)
    sentinels: dict[str, Instance] = Factory(dict)
    config_epoch: int = 0
    voted_for: str = ""
    last_vote_epoch: int = 0
    odown: bool = False
    odown_since_ms: int = 0
    failover: FailoverState = Factory(FailoverState)
    ask_gap_ms: int = 0
    # Of a guarded cluster.
    guard: Guard | None = None
    shard_id: str = ""
    no_vote_before_ms: int = 0
    holds: dict[int, Hold] = Factory(dict)  # by epoch of the vote; see `leases`
    lease_holder: str = ""  # `lease_id` of the one node that may hold a write lease of ours; on disk
    heir: Instance | None = None  # the replica that the primary, its writers paused, wants leased in its place
    left_until_ms: int = 0  # end of the last lease of a node that left the unit
    cluster_epoch: int = 0  # the primary's config epoch on the cluster bus
    unconfirmed: bool = True  # no view has shown this primary as the primary yet, so its epoch is unknown
    slotless_views: int = 0
    # Scheduling.
    due_ms: int = 0
    touched: bool = False
    removed: bool = False

    def members(self) -> list[Instance]:
        """The primary and its replicas."""
        return [self.primary, *self.replicas.values()]

    @property
    def serving(self) -> Instance:
        """Whom clients are sent to: the promoted replica as soon as its promotion is confirmed."""
        promoted = self.failover.promoted
        return self.primary if promoted is None or self.failover.state < RECONF else promoted

    @property
    def hold_until_ms(self) -> int:
        """No write lease to anybody of this unit before; 0: no vote of ours stands in the way."""
        return max((hold.until_ms for hold in self.holds.values()), default=0)

    def drop_settled_holds(self) -> None:
        """The election of `config_epoch` has its outcome. Votes in others still count: the candidate of an older one
        may have the order in hand that our vote allows him, and send it as long as it is not void."""
        self.holds.pop(self.config_epoch, None)

    @property
    def voters(self) -> int:
        """All sentinels of this unit, ourselves included."""
        return len(self.sentinels) + 1


@define(eq=False)
class Guard:
    """A guarded cluster: one `sentinel monitor` line, many units."""

    name: str
    settings: Settings
    seed: Address
    units: dict[str, Unit] = Factory(dict)  # by unit name
    spares: dict[str, Instance] = Factory(dict)  # nodes without a shard, by node id
    max_cluster_epoch: int = 0
    asked_ms: int = 0
    asked_node: str = ""
    heard_ms: int = 0
    started_ms: int = 0
    names_settled_ms: int = 0  # until then other sentinels are listened to, before a shard is given a name
    ask_again_ms: int = 0  # a view is wanted at this time, whatever the period
    due_ms: int = 0
    touched: bool = False
    removed: bool = False

    def nodes(self) -> list[Instance]:
        """Every node known, shard by shard, then the spares."""
        found = [member for unit in self.units.values() for member in unit.members()]
        return found + list(self.spares.values())
