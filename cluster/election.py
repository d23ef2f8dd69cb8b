"""Elections: how a replica of a failed primary asks for votes, and how a primary gives them.

A vote is worth something only because it is given once: a voter votes at most once per epoch, never in an epoch older
than one it knows, and its vote is on disk, synced, before it is sent (``Persist`` precedes ``Send``). A candidate needs
the votes of a majority of the primaries with slots, counted by voter, and takes the epoch of the election as its config
epoch, which no other winner can have.

The rest is tempo. A candidate waits 500 ms for the FAIL to spread, up to 500 ms at random so that two replicas do not
split the votes, and a second for each replica with a better replication offset, or an equal one and a smaller id. A
voter votes for one replica of the same primary per two node timeouts. A replica whose data is too old does not stand
(``replica_validity_factor``).

Manual failovers (``manual_failover``) use the same election, without the waits and with the request flagged so that
voters do not mind a working primary. Guarded replicas leave elections to the sentinels (``guard``).
"""

from __future__ import annotations

from attrs import Factory, define

from slotmesh.cluster.effects import ElectionStarted, ElectionWon
from slotmesh.cluster.guard import Guard
from slotmesh.cluster.heartbeat import broadcast, broadcast_pong, build_header
from slotmesh.cluster.manual_failover import ManualFailover
from slotmesh.cluster.members import Link, Member
from slotmesh.cluster.messages import AuthAck, AuthRequest, Header
from slotmesh.cluster.terms import MESSAGE_FORCE_ACK
from slotmesh.cluster.topology import Topology
from slotmesh.cluster.view import ClusterView

FIXED_DELAY_MS = 500
RANDOM_DELAY_MS = 500
RANK_DELAY_MS = 1000
MIN_ELECTION_MS = 2000
RETRY_FACTOR = 2
VOTE_PAUSE_FACTOR = 2
RELOG_MS = 10_000


@define(eq=False)
class Ballot:
    """One attempt to be elected in place of ``primary``. ``epoch`` is 0 until votes were asked for."""

    primary: Member
    start_ms: int
    rank: int
    epoch: int = 0
    voters: dict[str, bool] = Factory(dict)


class Candidate:
    """The replica's side: decides when to stand, asks for votes and counts them."""

    __slots__ = ("_ballot", "_guard", "_manual", "_told_ms", "_told_reason", "_topology", "_view")

    def __init__(self, view: ClusterView, topology: Topology, manual: ManualFailover, guard: Guard) -> None:
        self._view = view
        self._topology = topology
        self._manual = manual
        self._guard = guard
        self._ballot: Ballot | None = None
        self._told_reason = ""
        self._told_ms = 0

    def drop_ballot(self) -> None:
        """Forget the attempt under way; votes that still come for it are not counted."""
        self._ballot = None

    def advance(self) -> None:
        """Take the next step that is due, if any."""
        view = self._view
        primary = view.myself.primary
        if primary is None or not self._may_stand(primary):
            return
        election_ms = max(2 * view.config.node_timeout_ms, MIN_ELECTION_MS)
        ballot = self._ballot
        if (
            ballot is None
            or ballot.primary is not primary
            or view.now_ms - ballot.start_ms > election_ms * RETRY_FACTOR
        ):
            ballot = self._schedule(primary)
        if ballot.epoch == 0 and not self._manual.may_start:
            self._update_rank(ballot)
        if view.now_ms < ballot.start_ms:
            self._explain("waiting for the delay before the election")
        elif view.now_ms - ballot.start_ms > election_ms:
            self._explain("the attempt expired, waiting to retry")
        elif ballot.epoch == 0:
            self._ask_for_votes(ballot)
        elif len(ballot.voters) >= view.members.majority():
            self._win(ballot)
        else:
            self._explain("waiting for votes, majority not reached yet")

    def _may_stand(self, primary: Member) -> bool:
        manual = self._manual.may_start
        if not primary.slots or not (primary.failed or manual):
            self._told_reason = ""
            return False
        if manual:
            return True
        if self._view.config.replica_no_failover or self._guard.rules_elections():
            return False
        if not self._data_is_fresh():
            self._explain("disconnected from the primary for longer than cluster-replica-validity-factor allows")
            return False
        return True

    def _data_is_fresh(self) -> bool:
        config = self._view.config
        if config.replica_validity_factor == 0:
            return True
        age_ms = self._view.now_ms - self._view.replication.last_io_ms
        # The node timeout it took to find the failure does not count as age.
        age_ms -= config.node_timeout_ms if age_ms > config.node_timeout_ms else 0
        return age_ms <= config.repl_ping_period_ms + config.node_timeout_ms * config.replica_validity_factor

    def _rank(self, primary: Member) -> int:
        """How many other replicas of the primary should stand before us."""
        return sum(self._goes_first(replica) for replica in primary.replicas)

    def _goes_first(self, other: Member) -> bool:
        """Whether another replica has applied more of the stream; among equals the smallest id goes first (Valkey's
        rule), so that they do not split the votes."""
        me = self._view.myself
        if other is me or other.no_failover:
            return False
        offset = self._view.replication.offset
        if other.offset != offset:
            return other.offset > offset
        return other.node_id < me.node_id and not (other.failed or other.pfail)

    def _schedule(self, primary: Member) -> Ballot:
        view = self._view
        ballot = Ballot(primary, view.now_ms, 0)
        self._ballot = ballot
        if not self._manual.may_start:
            ballot.rank = self._rank(primary)
            ballot.start_ms += FIXED_DELAY_MS + int(view.rng.random() * RANDOM_DELAY_MS) + ballot.rank * RANK_DELAY_MS
        delay_ms = ballot.start_ms - view.now_ms
        view.notice(
            "election",
            f"Start of election delayed for {delay_ms} milliseconds (rank #{ballot.rank}, "
            f"offset {view.replication.offset}).",
        )
        # The other replicas learn our offset, and can rank themselves behind it.
        broadcast_pong(view, only_shard=True)
        return ballot

    def _update_rank(self, ballot: Ballot) -> None:
        rank = self._rank(ballot.primary)
        if rank > ballot.rank:
            ballot.start_ms += (rank - ballot.rank) * RANK_DELAY_MS
            ballot.rank = rank
            self._view.notice("election", f"rank updated to {rank}, election delayed further")

    def _ask_for_votes(self, ballot: Ballot) -> None:
        view = self._view
        ballot.epoch = view.epochs.advance()
        view.save(sync=True)
        view.notice("election", f"starting a failover election for epoch {ballot.epoch}")
        view.emit(ElectionStarted(ballot.epoch))
        flags = MESSAGE_FORCE_ACK if self._manual.may_start else 0
        broadcast(view, AuthRequest(build_header(view, flags)))

    def on_vote(self, voter: Member, header: Header) -> None:
        """A vote arrived; only one for the election under way, of a primary with slots, counts, and once per voter."""
        ballot = self._ballot
        if ballot is None or ballot.epoch == 0 or not voter.is_voter or header.current_epoch < ballot.epoch:
            return
        ballot.voters[voter.node_id] = True
        self._view.election_changed = True

    def _win(self, ballot: Ballot) -> None:
        view = self._view
        view.notice("election", f"election won with {len(ballot.voters)} votes: taking over in epoch {ballot.epoch}")
        view.emit(ElectionWon(ballot.epoch))
        self.take_over(ballot.epoch, "election")

    def take_over(self, config_epoch: int, why: str) -> None:
        """Become the primary of our shard and tell everybody."""
        self._ballot = None
        self._topology.take_over_shard(config_epoch, why)
        self._manual.reset()
        broadcast_pong(self._view)

    def _explain(self, reason: str) -> None:
        """Log why there is no failover, when that has lasted: once per reason and ten seconds."""
        view = self._view
        primary = view.myself.primary
        quiet_ms = view.config.node_timeout_ms + 5000
        if primary is not None and primary.failed and view.now_ms - primary.failed_since_ms < quiet_ms:
            return
        if reason == self._told_reason and view.now_ms - self._told_ms < RELOG_MS:
            return
        self._told_reason, self._told_ms = reason, view.now_ms
        view.warning("election", f"unable to failover at present: {reason}")


class Voter:
    """The primary's side: gives each vote once."""

    __slots__ = ("_view",)

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    def on_request(self, candidate: Member, header: Header, link: Link) -> None:
        """``candidate`` asks for our vote in the epoch ``header.current_epoch``."""
        view = self._view
        if not view.myself.is_voter:
            return
        reason = self._objection(candidate, header)
        if reason:
            view.notice("vote", f"failover auth denied to {candidate.node_id}: {reason}")
            return
        view.epochs.spend_vote(header.current_epoch)
        if candidate.primary is not None:
            candidate.primary.voted_ms = view.now_ms
        view.save(sync=True)
        view.notice("vote", f"failover auth granted to {candidate.node_id} for epoch {header.current_epoch}")
        own = candidate.link
        view.send(own if own is not None and own.up else link, AuthAck(build_header(view)))

    def _objection(self, candidate: Member, header: Header) -> str:
        view = self._view
        epochs = view.epochs
        if header.current_epoch < epochs.current_epoch:
            return f"requested epoch {header.current_epoch} is older than {epochs.current_epoch}"
        if not epochs.may_vote(header.current_epoch):
            return f"already voted in epoch {epochs.last_vote_epoch}"
        primary = candidate.primary
        if not candidate.is_replica or primary is None:
            return "it is a primary" if candidate.is_primary else "its primary is unknown"
        manual = bool(header.message_flags & MESSAGE_FORCE_ACK)
        if not primary.failed and not manual:
            return "its primary is up"
        pause_ms = view.config.node_timeout_ms * VOTE_PAUSE_FACTOR
        # The winner of an earlier vote needs time to be known. An operator knows what he does, and the primary takes no
        # writes while he waits.
        if primary.voted_ms and view.now_ms - primary.voted_ms < pause_ms and not manual:
            return f"voted about its primary {view.now_ms - primary.voted_ms} ms ago, less than {pause_ms}"
        claimed = header.slots - view.slots.unclaimed
        for member in view.members:
            if member.config_epoch > header.config_epoch and member.slots & claimed:
                return f"it claims slots that {member.node_id} owns with a newer config epoch"
        return ""
