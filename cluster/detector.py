"""Who is failing: suspicion by this node alone (pfail), and agreement of the primaries (fail).

- *pfail*: we pinged a node and for longer than the node timeout there was neither its answer nor any other traffic
  from it. It ends with the next pong.
- *fail*: we hold a node for pfail, and a majority of the primaries with slots (ourselves counted, if we are one) said
  so within twice the node timeout. Whoever finds this out tells everybody at once with a FAIL message, which the others
  believe, so that all replicas and voters see the failure at about the same time.
- *fail* ends when the node answers again and either is a replica, or has no slots, or its slots were not taken over
  within twice the node timeout (nobody is going to). In a guarded cluster nobody is after them on account of the flag,
  so it ends with the first answer; otherwise a restart of everything, flags read from disk, would last that long.

The agreement is weak by design: it only opens the way to an election, and the election has a real majority.
"""

from __future__ import annotations

from slotmesh.cluster.guard import Guard
from slotmesh.cluster.heartbeat import broadcast, build_header
from slotmesh.cluster.members import Member
from slotmesh.cluster.messages import Fail
from slotmesh.cluster.view import ClusterView

REPORT_VALIDITY_FACTOR = 2
FAIL_UNDO_FACTOR = 2


class FailureDetector:
    """Applies the rules above to the members of a view."""

    __slots__ = ("_guard", "_view")

    def __init__(self, view: ClusterView, guard: Guard) -> None:
        self._view = view
        self._guard = guard

    def on_report(self, suspect: Member, reporter: Member) -> None:
        """A primary's gossip calls ``suspect`` failing."""
        if reporter.node_id not in suspect.fail_reports:
            self._view.verbose("report", f"Node {reporter.node_id} reported node {suspect.node_id} as not reachable.")
        suspect.fail_reports[reporter.node_id] = self._view.now_ms
        self.maybe_mark_failed(suspect)

    def on_all_clear(self, member: Member, reporter: Member) -> None:
        """A primary's gossip calls ``member`` working."""
        if member.fail_reports and member.fail_reports.pop(reporter.node_id, None) is not None:
            self._view.verbose("report", f"Node {reporter.node_id} reported node {member.node_id} is back online.")

    def count_reports(self, member: Member) -> int:
        """Valid failure reports about ``member``, our own suspicion not counted."""
        reports = member.fail_reports
        if not reports:
            return 0
        oldest = self._view.now_ms - self._view.config.node_timeout_ms * REPORT_VALIDITY_FACTOR
        for node_id in [node_id for node_id, at_ms in reports.items() if at_ms < oldest]:
            del reports[node_id]
        return len(reports)

    def check_silence(self, member: Member) -> None:
        """Suspect ``member`` when its answer is overdue and nothing else was heard from it."""
        if member.ping_sent_ms == 0 or member.pfail or member.failed:
            return
        now_ms = self._view.now_ms
        silent_ms = min(now_ms - member.ping_sent_ms, now_ms - member.data_received_ms)
        if silent_ms > self._view.config.node_timeout_ms:
            member.pfail = True
            self._view.state_changed = True
            self._view.notice("pfail", f"node {member.node_id} possibly failing: silent for {silent_ms} ms")
            self.maybe_mark_failed(member)

    def maybe_mark_failed(self, suspect: Member) -> None:
        """Turn pfail into fail when the majority agrees, and tell everybody."""
        if not suspect.pfail or suspect.failed:
            return
        view = self._view
        agreeing = self.count_reports(suspect) + view.myself.is_voter
        if agreeing < view.members.majority():
            return
        view.notice("fail", f"Marking node {suspect.node_id} as failing (quorum reached: {agreeing}).")
        self._mark_failed(suspect)
        broadcast(view, Fail(build_header(view), suspect.node_id))

    def on_fail(self, member: Member, sender: Member) -> None:
        """A known node announced the agreement."""
        if member.failed or member.is_myself:
            return
        self._view.notice("fail", f"FAIL message received from {sender.node_id} about {member.node_id}")
        self._mark_failed(member)

    def _mark_failed(self, member: Member) -> None:
        member.pfail = False
        member.failed = True
        member.failed_since_ms = self._view.now_ms
        self._view.election_changed = True
        self._view.reassess()

    def on_answer(self, member: Member) -> None:
        """The answer to a ping of ours arrived."""
        if member.pfail:
            member.pfail = False
            self._view.reassess()
        elif member.failed:
            self._maybe_clear_failed(member)

    def _maybe_clear_failed(self, member: Member) -> None:
        view = self._view
        if member.is_replica or not member.slots:
            reason = "a replica" if member.is_replica else "a primary without slots"
        elif view.now_ms - member.failed_since_ms > view.config.node_timeout_ms * FAIL_UNDO_FACTOR:
            reason = "a primary whose slots nobody took over"
        elif self._guard.rules_elections():
            reason = "a primary that the sentinels have not replaced"
        else:
            return
        member.failed = False
        view.reassess()
        view.notice("fail-cleared", f"Clear FAIL state for node {member.node_id}: {reason} is reachable again.")
