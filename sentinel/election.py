"""Electing the sentinel that leads a failover.

One vote per unit and epoch, first come first served, on disk before it is told. A leader needs the votes of a
majority of all sentinels ever seen for the unit, and of at least `quorum`. Votes travel on SENTINEL
IS-MASTER-DOWN-BY-ADDR, which is both the question "is it down for you as well?" and, with a run id, "vote for me in
this epoch".

As stock's, but quicker:
- who starts first is not left to chance: the sentinels stand in line by run id (shifted by the epoch, so that a sick
  first one is not first again) and start `STAGGER_MS` apart; whoever is asked for a vote before his turn gives it and
  waits;
- who sees that he cannot win any more stops at once and lines up again - or, when the votes show that somebody else
  won, lets him work. Votes are split when messages and disks take longer than the starters stand apart, so with every
  lost election they stand twice as far apart, up to a second;
- that ends when the winner is dead, or gives the votes back (his attempt is over), or has had his time. Stock waits for
  twice the failover timeout, by default six minutes, after every attempt that failed, its own or another's;
- a new ODOWN knows nothing of the attempts of an earlier one.
None of it matters for safety, so peers of stock may be in the same election.

Different from stock: the question carries the epoch of this failover, not the newest epoch known. When two units fail
at once these differ, and stock can then count votes of one epoch for a promotion in another.
"""

from __future__ import annotations

from slotmesh.cluster.epochs import is_credible
from slotmesh.cluster.quorum import front_runner, tally, votes_to_win
from slotmesh.sentinel.effects import WARNING, Reply
from slotmesh.sentinel.instance import NONE, WAIT_START, FailoverState, Instance, Unit
from slotmesh.sentinel.leases import Leases
from slotmesh.sentinel.links import DISCARD, DOWN, Links
from slotmesh.sentinel.state import Context

STAGGER_MS = 30
"""Between two starters in line: well above a round trip and a disk sync, well below what anybody notices."""

FIRST_GAP_MS = 20
"""First pause between two rounds of questions; doubles up to the ask period. The first rounds decide how fast ODOWN
is.
"""

ANSWER_VALID_PERIODS = 5
MAX_DESYNC_MS = 1_000
MIN_BACKOFF_MS = 20
MAX_STAGGER_MS = 1_000
"""The pause after a lost election: the least, plus the place in the line."""


class Election:
    """Votes given, votes counted, questions asked."""

    def __init__(self, ctx: Context, links: Links, leases: Leases) -> None:
        self._ctx = ctx
        self._links = links
        self._leases = leases

    # --------------------------------------------------------------------------------------------------------- voting

    def adopt_epoch(self, epoch: int, unit: Unit) -> None:
        """Move on to a larger epoch that somebody told, if it can be one."""
        if epoch > self._ctx.current_epoch and is_credible(epoch, self._ctx.current_epoch):
            self._ctx.current_epoch = epoch
            self._ctx.persist()
            self._ctx.emit_raw(WARNING, "+new-epoch", unit, str(epoch))

    def cast_vote(self, unit: Unit, epoch: int, candidate: str) -> tuple[str, int]:
        """Vote for `candidate` in `epoch` if our vote is still free. Returns our latest vote: who ("" none), epoch."""
        self.adopt_epoch(epoch, unit)
        free = unit.last_vote_epoch < epoch <= self._ctx.current_epoch and self._ctx.storage_ok
        if free and self._leases.may_vote_at_ms(unit) == 0:
            unit.voted_for, unit.last_vote_epoch = candidate, epoch
            self._ctx.persist()
            self._ctx.emit_raw(WARNING, "+vote-for-leader", unit, f"{candidate} {epoch}")
            self._leases.hold(unit, epoch, candidate)
            if candidate != self._ctx.my_id:
                self._give_way(unit, candidate)
        if not unit.voted_for or not self._ctx.storage_ok:
            return "", 0  # a vote that may not be on disk is not told
        return unit.voted_for, unit.last_vote_epoch

    def _give_way(self, unit: Unit, leader: str) -> None:
        failover = unit.failover
        if failover.active and not failover.order_sent:
            self._ctx.emit(WARNING, "-failover-abort-not-elected", unit)
            self.abandon(unit)
        patience_ms = min(self._ctx.timing.election_timeout, 2 * unit.settings.failover_timeout_ms)
        if self._leases.leased(unit):
            patience_ms = self._ctx.leader_time_ms  # then his order is void
        failover.start_ms = self._ctx.now_ms + self._ctx.rng.randrange(MAX_DESYNC_MS)
        failover.blocked_until_ms = failover.start_ms + patience_ms
        failover.deferred_to = leader
        self._ctx.touch(unit)

    def abandon(self, unit: Unit) -> None:
        """Stop an attempt of ours that was not confirmed yet; the caller has said why.

        Unless an order is out that may still be obeyed, everybody gets his vote back.
        """
        failover = unit.failover
        if not failover.order_sent:
            self._leases.drop_hold(unit, failover.epoch, self._ctx.my_id)
            for peer in unit.sentinels.values():
                # Stock answers with an error, and holds nothing. Who does not hear of it waits for his hold to end.
                self._links.send(peer, DISCARD, "SENTINEL", "GIVE-BACK-VOTE", failover.epoch, self._ctx.my_id)
        failover.enter(NONE, self._ctx.now_ms)
        failover.forced = failover.order_sent = False
        self._ctx.touch(unit)
        failover.graceful_until_ms = 0
        if failover.promoted is not None:
            failover.promoted.replica.promoted = False
            failover.promoted = None

    # ------------------------------------------------------------------------------------------------------- starting

    def desync_ms(self, unit: Unit) -> int:
        """Our place in the line of starters, as a delay. The line is longer after lost elections."""
        alive = [run_id for run_id, peer in unit.sentinels.items() if not peer.sdown]
        line = sorted([self._ctx.my_id, *alive])
        place = (line.index(self._ctx.my_id) - self._ctx.current_epoch) % len(line)
        stagger_ms = min(STAGGER_MS << min(unit.failover.attempts, 10), MAX_STAGGER_MS)
        return place * stagger_ms + self._ctx.rng.randrange(stagger_ms // 3)

    def on_vote_back(self, epoch: int, candidate: str) -> None:
        """Another sentinel gives the votes back that it got in `epoch`: that attempt is over."""
        if candidate == self._ctx.my_id:
            return
        for unit in self._ctx.units.values():
            self._leases.drop_hold(unit, epoch, candidate)
            if unit.failover.deferred_to == candidate and unit.last_vote_epoch == epoch:
                self._line_up(unit)

    def _line_up(self, unit: Unit) -> None:
        """Nobody works on this failover: take our place in the line."""
        unit.failover.deferred_to = ""
        unit.failover.blocked_until_ms = self._ctx.now_ms + self.desync_ms(unit)
        self._ctx.touch(unit)

    def queue_up(self, unit: Unit) -> None:
        """The primary just became ODOWN: take our place in the line."""
        failover = unit.failover
        failover.blocked_until_ms = max(failover.blocked_until_ms, self._ctx.now_ms + self.desync_ms(unit))

    def stand_down(self, unit: Unit) -> None:
        """The primary is not ODOWN any more: the next time starts afresh."""
        failover = unit.failover
        failover.deferred_to, failover.attempts, failover.hopeless = "", 0, False
        failover.blocked_until_ms = 0

    def check_leader(self, unit: Unit) -> None:
        """The leader we gave way to is dead: nobody is working on this failover."""
        failover = unit.failover
        leader = unit.sentinels.get(failover.deferred_to)
        if leader is not None and leader.sdown:
            self._line_up(unit)

    def start_at_ms(self, unit: Unit) -> int:
        """When we may start: after our turn has come, and when we could vote for ourselves."""
        return max(unit.failover.blocked_until_ms, self._leases.may_vote_at_ms(unit))

    def start(self, unit: Unit) -> None:
        """Begin an attempt in a new epoch."""
        ctx, failover = self._ctx, unit.failover
        ctx.current_epoch += 1
        ctx.persist()
        failover.enter(WAIT_START, ctx.now_ms)
        failover.epoch = ctx.current_epoch
        failover.forced = failover.order_sent = failover.hand_over_refused = False
        failover.deferred_to = ""
        failover.start_ms = ctx.now_ms
        ctx.emit_raw(WARNING, "+new-epoch", unit, str(ctx.current_epoch))
        ctx.emit(WARNING, "+try-failover", unit)

    # -------------------------------------------------------------------------------------------------------- counting

    def count(self, unit: Unit) -> tuple[str | None, bool]:
        """Who won the epoch of our attempt (None: nobody yet), and whether we still can.

        Nobody waits for the votes of the dead while the others are enough: when those have split their votes, it would
        hold them up until the dead run again.
        """
        failover, me = unit.failover, self._ctx.my_id
        known = [p.peer.voted_for for p in unit.sentinels.values() if self._voted(p, failover)]
        counts = tally(known)
        mine, epoch = self.cast_vote(unit, failover.epoch, front_runner(counts) or me)
        counted = bool(mine) and epoch == failover.epoch
        if counted:
            counts[mine] = counts.get(mine, 0) + 1
        needed = votes_to_win(unit.voters, unit.settings.quorum)
        best = front_runner(counts)
        winner = best if best is not None and counts[best] >= needed else None
        awaited = [p for p in unit.sentinels.values() if not p.sdown]
        if len(awaited) + 1 < needed:
            awaited = list(unit.sentinels.values())  # nobody can win before some are back
        undecided = sum(self._may_vote(p, failover) for p in awaited)
        undecided += not counted and epoch < failover.epoch
        return winner, counts.get(me, 0) + undecided >= needed

    @staticmethod
    def _voted(peer: Instance, failover: FailoverState) -> bool:
        return bool(peer.peer.voted_for) and peer.peer.vote_epoch == failover.epoch

    @classmethod
    def _may_vote(cls, peer: Instance, failover: FailoverState) -> bool:
        """Whether its vote in this epoch may still come: it has not voted in this epoch or in a later one."""
        return not cls._voted(peer, failover) and peer.peer.vote_epoch <= failover.epoch

    def lost(self, unit: Unit, winner: str | None) -> None:
        """We were not elected: make room for the winner, or try again after a pause."""
        failover, now = unit.failover, self._ctx.now_ms
        failover.attempts += 1
        if winner is not None:
            self._give_way(unit, winner)
            return
        self._ctx.emit(WARNING, "-failover-abort-not-elected", unit)
        self.abandon(unit)
        failover.blocked_until_ms = now + MIN_BACKOFF_MS + self.desync_ms(unit)

    # ---------------------------------------------------------------------------------------------------------- asking

    def ask(self, unit: Unit, *, forced: bool = False) -> int:
        """Ask the other sentinels about the primary if it is time; returns when the next round is due."""
        ctx = self._ctx
        due = ctx.now_ms + ctx.timing.ask_period
        seeking = ctx.my_id if unit.failover.active else "*"
        epoch = unit.failover.epoch if unit.failover.active else ctx.current_epoch
        gap_ms = min(unit.ask_gap_ms or FIRST_GAP_MS, ctx.timing.ask_period)
        asked = False
        for peer in unit.sentinels.values():
            state = peer.peer
            if ctx.now_ms - state.reply_ms > ctx.timing.ask_period * ANSWER_VALID_PERIODS:
                state.primary_down, state.voted_for = False, ""
            if not unit.primary.sdown or not peer.link.commands.up:
                continue
            ready_ms = state.asked_ms + (gap_ms if state.asking == 0 else ctx.timing.ask_period)
            if ctx.now_ms < ready_ms and not forced:
                due = min(due, ready_ms)
                continue
            self._question(unit, peer, epoch, seeking)
            asked = True
            due = min(due, ctx.now_ms + gap_ms)
        if asked:
            unit.ask_gap_ms = min(gap_ms * 2, ctx.timing.ask_period)
        return due

    def _question(self, unit: Unit, peer: Instance, epoch: int, seeking: str) -> None:
        address = unit.primary.address
        words = ("SENTINEL", "is-master-down-by-addr", self._ctx.announce(address), address.port, epoch, seeking)
        if self._links.send(peer, DOWN, *words):
            peer.peer.asking += 1
            peer.peer.asked_ms = self._ctx.now_ms

    def on_reply(self, peer: Instance, reply: Reply) -> None:
        """Another sentinel answered: is the primary down for it, and whom did it vote for."""
        state = peer.peer
        state.asking = max(0, state.asking - 1)
        if not isinstance(reply, list) or len(reply) != 3:
            return
        down, leader, epoch = reply
        if not isinstance(down, int) or not isinstance(leader, bytes) or not isinstance(epoch, int):
            return
        if not is_credible(epoch, self._ctx.current_epoch):
            return
        state.reply_ms = self._ctx.now_ms
        state.primary_down = down == 1
        if leader != b"*":
            voted_for = leader.decode("utf-8", "surrogateescape")
            if (voted_for, epoch) != (state.voted_for, state.vote_epoch):
                self._ctx.log(f"{peer.name} voted for {voted_for} {epoch}")
            state.voted_for, state.vote_epoch = voted_for, epoch
        self._ctx.touch(peer.unit)
