"""Guarding a cluster: learning shards, naming units, leases, promotions with a fence."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from slotmesh.node.resp.values import OK
from slotmesh.sentinel import peers
from slotmesh.sentinel.effects import Connect, Effect, ErrorReply, Persist, Reply, Send
from slotmesh.sentinel.leases import drift_ms
from slotmesh.sentinel.state import LEADER_TIME_MS, REFUSED_RETRY_MS
from tests.support.sentinel_bench import SentinelBench, info

A, B, C, D = "a" * 40, "b" * 40, "c" * 40, "d" * 40
PORTS = {A: 7001, B: 7002, C: 7003, D: 7004}
DOWN_AFTER_MS = 2_000
CONFIG = f"""\
sentinel monitor shop 10.0.0.1 7001 1
sentinel down-after-milliseconds shop {DOWN_AFTER_MS}
sentinel failover-timeout shop 5000
"""
NODE_CLOCK_MS = 77_000


def nodes_text(teller: str, owners: dict[str, tuple[str, int]], epochs: dict[str, int] | None = None) -> bytes:
    """CLUSTER NODES as `teller` gives it: node -> (its primary, or "" for a primary with slots; config epoch)."""
    lines = []
    for node, (primary, epoch) in owners.items():
        flags = ("myself," if node == teller else "") + ("slave" if primary else "master")
        slots = "" if primary else f" {PORTS[node]}-{PORTS[node]}"
        lines.append(f"{node} 10.0.0.1:{PORTS[node]}@17000 {flags} {primary or '-'} 0 0 {epoch} connected{slots}")
    return "\n".join(lines).encode()


TWO_SHARDS = {A: ("", 1), B: ("", 2), C: (A, 1), D: (B, 2)}


class Cluster:
    """A bench with the nodes of a cluster behind it."""

    def __init__(
        self, config: str = CONFIG, *, ours: bool = True, shard_ids: bool = True, guarded: bool = True
    ) -> None:
        self.bench = SentinelBench(config)
        self.ours = ours
        self.guarded = guarded
        self.shard_ids = (b"1111aaaa2222", b"3333bbbb4444") if shard_ids else ()
        self.fence_epoch = 0
        self.owners = dict(TWO_SHARDS)
        self.alive = set(PORTS)
        self.sent: list[tuple[int, tuple[bytes, ...]]] = []
        self.events: list[str] = []
        self.clock_ms = NODE_CLOCK_MS
        self.heirs: dict[str, str] = {}

    def run(self, ms: int) -> list[str]:
        """Let time pass with all living nodes answering at once; the events of that time."""
        first = len(self.events)
        end_ms = self.bench.now_ms + ms
        while True:
            for _ in range(4):
                for node in PORTS:
                    self._serve(node)
            if self.bench.now_ms >= end_ms:
                return self.events[first:]
            self.clock_ms += 20
            self._note(self.bench.advance(20))

    def _note(self, effects: Sequence[Effect]) -> None:
        self.events += self.bench.events(effects)
        self.sent += [(self.bench.ports[e.conn_id], e.argv) for e in effects if isinstance(e, Send)]

    def _serve(self, node: str) -> None:
        bench, port = self.bench, PORTS[node]
        if node not in self.alive:
            self._note(bench.drop(port))
            self._note(bench.refuse(port))
            return
        self._note(bench.accept(port))
        if not any(bench.core.ctx.connections[one][0].pubsub is False for one in bench.open_connections(port)):
            return
        primary = self.owners[node][0]
        facts = {"cluster_enabled": 1, "server_name": "slotmesh" if self.ours else "redis"}
        if self.ours and self.guarded:
            facts["cluster_guard_leases"] = 2
        if primary:
            facts |= {"master_host": "10.0.0.1", "master_port": PORTS[primary], "slave_repl_offset": 5}
        shards: list[Reply] = [
            [b"nodes", [[b"id", one.encode()] for one in members], b"id", shard_id]
            for members, shard_id in zip(((A, C), (B, D)), self.shard_ids, strict=False)
        ]
        heir: list[Reply] = [0, self.heirs[node].encode()] if node in self.heirs else []
        answers: dict[str, Reply] = {
            "PING": b"PONG",
            "INFO": info("slave" if primary else "master", **facts).replace(b"a" * 40, node.encode()),
            "GUARD": [self.clock_ms, self.fence_epoch, 1, *heir] if self.ours else ErrorReply("ERR unknown subcommand"),
            "MYID": node.encode(),
            "NODES": nodes_text(node, self.owners),
            "EPOCHS": b"cluster_current_epoch:9\r\n",
            "SHARDS": shards,
            "ORDER": b"OK",
        }
        self._note(bench.answer(port, answers))

    def guards_to(self, node: str) -> list[tuple[bytes, ...]]:
        """GUARD commands sent to a node so far."""
        return [argv for port, argv in self.sent if port == PORTS[node] and argv[1:2] == (b"GUARD",)]

    def kill(self, node: str) -> list[str]:
        self.alive.discard(node)
        return self.run(REFUSED_RETRY_MS + 40)


# Learning the cluster


def test_one_monitor_line_on_a_cluster_node_guards_all_shards() -> None:
    cluster = Cluster()
    events = cluster.run(300)
    units = cluster.bench.core.ctx.units
    assert list(units) == ["shop/1111aaaa", "shop/3333bbbb"]
    assert [unit.primary.node_id for unit in units.values()] == [A, B]
    assert [[r.node_id for r in unit.replicas.values()] for unit in units.values()] == [[C], [D]]
    assert events.count("+monitor") == 2
    assert cluster.bench.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop/3333bbbb") == [b"10.0.0.1", b"7002"]
    reply = cluster.bench.call("SENTINEL", "MASTER", "shop")
    assert isinstance(reply, ErrorReply)
    assert "name one of its shards" in reply.text


def test_guarded_cluster_survives_a_restart_of_the_sentinel() -> None:
    cluster = Cluster()
    cluster.run(300)
    cluster.bench.call("SENTINEL", "FLUSHCONFIG")
    again = SentinelBench(cluster.bench.saved())
    units = again.core.ctx.units
    assert list(units) == ["shop/1111aaaa", "shop/3333bbbb"]
    assert units["shop/1111aaaa"].primary.address.port == 7001
    assert [r.node_id for r in units["shop/3333bbbb"].replicas.values()] == [D]


def test_shards_without_ids_are_named_after_their_first_primary_once_others_were_listened_to() -> None:
    cluster = Cluster(shard_ids=False)
    cluster.run(1_000)
    assert list(cluster.bench.core.ctx.units) == []
    cluster.run(2_500)
    assert list(cluster.bench.core.ctx.units) == ["shop/aaaaaaaa", "shop/bbbbbbbb"]


def test_shards_that_no_sentinel_has_guarded_yet_are_named_at_once() -> None:
    cluster = Cluster(shard_ids=False, guarded=False)
    cluster.run(300)
    assert list(cluster.bench.core.ctx.units) == ["shop/aaaaaaaa", "shop/bbbbbbbb"]
    stock = Cluster(shard_ids=False, ours=False)
    stock.run(300)
    assert list(stock.bench.core.ctx.units) == [], "a server of stock does not know whether it is guarded"


def test_name_that_another_sentinel_uses_is_taken_over_when_it_is_heard() -> None:
    cluster = Cluster(shard_ids=False)
    cluster.run(300)
    cluster.bench.hear(7001, f"10.0.1.2,26001,{'e' * 40},0,shop/cccccccc,10.0.0.1,7001,0")
    cluster.run(200)
    assert list(cluster.bench.core.ctx.units) == ["shop/cccccccc"]
    cluster.run(3_000)
    assert list(cluster.bench.core.ctx.units) == ["shop/cccccccc", "shop/bbbbbbbb"]


def test_differing_names_end_in_the_alphabetically_first_one() -> None:
    cluster = Cluster(shard_ids=False)
    cluster.run(3_500)
    cluster.bench.hear(7001, f"10.0.1.2,26001,{'e' * 40},0,shop/11111111,10.0.0.1,7001,0")
    assert "shop/11111111" in cluster.bench.core.ctx.units
    cluster.bench.hear(7002, f"10.0.1.2,26001,{'e' * 40},0,shop/zzzzzzzz,10.0.0.1,7002,0")
    assert "shop/bbbbbbbb" in cluster.bench.core.ctx.units


def test_replica_that_moves_to_another_shard_is_followed() -> None:
    cluster = Cluster()
    cluster.run(300)
    cluster.owners[C] = (B, 2)
    cluster.run(1_500)
    units = cluster.bench.core.ctx.units
    assert [r.node_id for r in units["shop/3333bbbb"].replicas.values()] == [D, C]
    assert not units["shop/1111aaaa"].replicas


def test_forgotten_node_is_dropped_after_several_views() -> None:
    cluster = Cluster()
    cluster.run(300)
    del cluster.owners[C]
    cluster.alive.discard(C)
    cluster.run(5_000)
    assert not cluster.bench.core.ctx.units["shop/1111aaaa"].replicas


def test_view_that_lacks_most_nodes_is_not_believed() -> None:
    cluster = Cluster()
    cluster.run(300)
    cluster.owners = {A: ("", 1)}
    cluster.alive = {A}
    cluster.run(6_000)
    assert len(cluster.bench.core.ctx.units) == 2


def test_failover_by_hand_is_followed_with_a_larger_config_epoch_only() -> None:
    cluster = Cluster()
    cluster.run(300)
    cluster.owners = {A: (C, 1), B: ("", 2), C: ("", 1), D: (B, 2)}
    assert "+switch-master" not in cluster.run(200)
    cluster.owners[C] = ("", 7)
    assert "+switch-master" in cluster.run(2_500)
    assert cluster.bench.core.ctx.units["shop/1111aaaa"].primary.node_id == C


def test_shard_that_lost_all_slots_is_no_unit_any_more() -> None:
    cluster = Cluster()
    cluster.run(300)
    cluster.owners[B], cluster.owners[D] = (A, 2), (A, 2)
    assert "-monitor" in cluster.run(6_000)
    assert list(cluster.bench.core.ctx.units) == ["shop/1111aaaa"]


# Leases


def test_primary_is_leased_by_its_own_clock_and_replica_only_watched() -> None:
    cluster = Cluster()
    cluster.run(600)
    first, second, *_ = cluster.guards_to(A)
    assert first[2:5] == (b"shop", b"f" * 40, b"0")
    assert first[5:] == (b"2000", b"1", b"0", b"WATCH"), "nothing is leased before there is an echo"
    assert len(second) == 8, "a lease"
    assert int(second[7]) >= NODE_CLOCK_MS
    assert all(argv[-1] == b"WATCH" for argv in cluster.guards_to(C))


def test_lease_is_counted_as_alive_from_the_receipt_of_its_echo() -> None:
    cluster = Cluster()
    cluster.run(600)
    unit = cluster.bench.core.ctx.units["shop/1111aaaa"]
    lease = unit.primary.lease
    assert 0 < lease.granted_until_ms - cluster.bench.now_ms <= DOWN_AFTER_MS + drift_ms(DOWN_AFTER_MS)
    assert cluster.bench.core.leases.may_vote_at_ms(unit) == lease.granted_until_ms


def test_first_lease_of_a_node_is_on_disk_before_it_is_sent() -> None:
    cluster = Cluster()
    cluster.run(600)
    history = cluster.bench.history
    first = next(
        i for i, e in enumerate(history) if isinstance(e, Send) and e.argv[1:2] == (b"GUARD",) and len(e.argv) == 8
    )
    saved = [e.content for e in history[:first] if isinstance(e, Persist)][-1]
    assert f"known-shard shop 1111aaaa 1111aaaa2222 {A}" in saved
    assert f" {A}\n" in saved.split("known-shard shop 1111aaaa", 1)[1], "the holder"


def test_vote_over_a_live_lease_is_refused_and_given_when_it_is_over() -> None:
    cluster = Cluster(CONFIG.replace("7001 1", "7001 2"))
    cluster.run(600)
    bench = cluster.bench
    question = ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", "7001", "5", "e" * 40)
    assert bench.call(*question) == [0, b"*", 0]
    cluster.kill(A)
    assert bench.call(*question)[1:] == [b"e" * 40, 5], "a dead process has no lease"  # type: ignore[index]


def test_nobody_of_the_shard_is_leased_after_a_vote_until_the_hold_ends() -> None:
    cluster = Cluster()
    cluster.run(600)
    unit = cluster.bench.core.ctx.units["shop/1111aaaa"]
    cluster.bench.core.leases.died(unit.primary)
    cluster.bench.call("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", "7001", "5", "e" * 40)
    before = len(cluster.guards_to(A))
    cluster.run(LEADER_TIME_MS - 20)
    held = cluster.guards_to(A)[before:]
    assert held
    assert all(argv[-1] == b"WATCH" for argv in held)
    cluster.run(500)
    assert cluster.guards_to(A)[-1][-1] != b"WATCH"


PEER = "e" * 40


def voted_and_primary_back() -> Cluster:
    """The primary died, the vote went to another sentinel, and the primary is back."""
    cluster = Cluster(CONFIG.replace("7001 1", "7001 2"))
    cluster.run(600)
    cluster.kill(A)
    for epoch in ("5", "6"):
        cluster.bench.call("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", "7001", epoch, PEER)
    cluster.alive.add(A)
    cluster.run(500)
    return cluster


def test_vote_that_is_given_back_ends_its_hold_at_once_and_no_other() -> None:
    cluster = voted_and_primary_back()
    assert cluster.guards_to(A)[-1][-1] == b"WATCH", "it sees the primary, but the leader may promote another yet"
    cluster.bench.call("SENTINEL", "GIVE-BACK-VOTE", "6", PEER)
    cluster.bench.call("SENTINEL", "GIVE-BACK-VOTE", "5", "d" * 40)
    cluster.run(60)
    assert cluster.guards_to(A)[-1][-1] == b"WATCH", "the vote of epoch 5 still binds"
    assert cluster.bench.call("SENTINEL", "GIVE-BACK-VOTE", "5", PEER) == OK
    (lease,) = [argv for argv in cluster.bench.sent() if argv[1:2] == (b"GUARD",)]
    assert lease[-1] != b"WATCH"


def test_attempt_whose_primary_is_back_ends_and_gives_the_votes_back() -> None:
    cluster = Cluster(CONFIG.replace("7001 1", "7001 2"))
    cluster.run(600)
    bench = cluster.bench
    bench.hear(7002, f"10.0.1.2,26001,{PEER},0,shop/1111aaaa,10.0.0.1,7001,0")
    bench.accept(26001)
    bench.answer(26001, {"PING": b"PONG"})
    cluster.kill(A)
    bench.answer(26001, {"DOWN": [1, b"*", 0], "PING": b"PONG"})
    cluster.run(100)
    unit = bench.core.ctx.units["shop/1111aaaa"]
    assert unit.failover.active, "it waits for the vote of the other one"
    assert unit.hold_until_ms
    cluster.alive.add(A)
    before = len(cluster.sent)
    assert "-failover-abort-master-is-back" in cluster.run(500)
    assert not unit.holds
    assert (26001, (b"SENTINEL", b"GIVE-BACK-VOTE", b"1", bench.core.ctx.my_id.encode())) in cluster.sent[before:]
    assert cluster.guards_to(A)[-1][-1] != b"WATCH"


def test_order_waits_for_the_clock_of_its_node() -> None:
    cluster = Cluster()
    cluster.run(600)
    replica = next(iter(cluster.bench.core.ctx.units["shop/1111aaaa"].replicas.values()))
    assert cluster.bench.core.leases.order_void_ms(replica, cluster.bench.now_ms) > NODE_CLOCK_MS
    replica.lease.echo_ms = 0
    assert cluster.bench.core.leases.order_void_ms(replica, cluster.bench.now_ms) == 0


def test_outcome_of_an_older_election_does_not_end_the_hold_of_a_newer_vote() -> None:
    cluster = Cluster()
    cluster.run(600)
    unit = cluster.bench.core.ctx.units["shop/1111aaaa"]
    cluster.bench.core.leases.died(unit.primary)
    cluster.bench.call("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", "7001", "5", "e" * 40)
    hello = f"10.0.1.2,26001,{'e' * 40},5,shop/1111aaaa,10.0.0.1,7003"
    cluster.bench.hear(7002, f"{hello},4")
    assert unit.primary.node_id == C
    assert unit.hold_until_ms > cluster.bench.now_ms
    cluster.bench.hear(7002, f"10.0.1.2,26001,{'e' * 40},5,shop/1111aaaa,10.0.0.1,7001,5")
    assert unit.primary.node_id == A
    assert unit.hold_until_ms == 0


def test_silent_primary_is_not_pestered_with_worthless_leases() -> None:
    cluster = Cluster(CONFIG.replace("7001 1", "7001 2"))
    cluster.run(600)
    bench = cluster.bench
    bench.core.ctx.timing.min_link_reconnect_period = 10**9
    before = len(cluster.guards_to(A))
    for _ in range(300):
        cluster._note(bench.advance(20))
        for node in (B, C, D):
            cluster._serve(node)
    assert bench.core.ctx.units["shop/1111aaaa"].primary.sdown
    assert len(cluster.guards_to(A)) - before <= 300 * 20 // (DOWN_AFTER_MS // 5) + 2


def test_new_primary_is_leased_at_once_when_the_old_one_is_dead() -> None:
    cluster = Cluster()
    cluster.run(600)
    events = cluster.kill(A)
    assert "+odown" in events
    orders = []
    for _ in range(20):
        cluster.run(20)
        orders = [argv for port, argv in cluster.sent if port == PORTS[C] and argv[1:2] == (b"FAILOVER",)]
        if orders:
            break
    assert [order[:6] for order in orders] == [(b"CLUSTER", b"FAILOVER", b"TAKEOVER", b"FENCE", b"1", b"10")]
    left_ms = int(orders[0][6]) - cluster.clock_ms
    assert LEADER_TIME_MS - 200 < left_ms <= LEADER_TIME_MS, "valid for the leader's time, on the clock of the node"
    cluster.owners = {A: (C, 1), B: ("", 2), C: ("", 10), D: (B, 2)}
    events = cluster.run(300)
    assert "+promoted-slave" in cluster.events
    assert "+switch-master" in cluster.events
    assert cluster.bench.core.ctx.units["shop/1111aaaa"].config_epoch == 1
    assert cluster.guards_to(C)[-1][-1] != b"WATCH"
    assert not any(argv[0] == b"SLAVEOF" for _, argv in cluster.sent), "the bus does that"


def test_second_lease_in_a_shard_waits_for_the_first_to_end() -> None:
    cluster = Cluster()
    cluster.run(600)
    unit = cluster.bench.core.ctx.units["shop/1111aaaa"]
    cluster.bench.core.ctx.timing.min_link_reconnect_period = 10**9
    ends_ms = unit.primary.lease.granted_until_ms
    cluster.owners = {A: ("", 1), B: ("", 2), C: ("", 7), D: (B, 2)}
    cluster.bench.hear(7002, f"10.0.1.2,26001,{'e' * 40},4,shop/1111aaaa,10.0.0.1,7003,4")
    assert unit.primary.node_id == C
    silent = set(PORTS) - {A}
    cluster._serve_only = silent  # type: ignore[attr-defined]
    while cluster.bench.now_ms < ends_ms - 100:
        cluster.clock_ms += 20
        cluster._note(cluster.bench.advance(20))
        for node in sorted(silent):
            cluster._serve(node)
    assert all(argv[-1] == b"WATCH" for argv in cluster.guards_to(C))
    for _ in range(30):
        cluster.clock_ms += 20
        cluster._note(cluster.bench.advance(20))
        for node in sorted(silent):
            cluster._serve(node)
    assert cluster.guards_to(C)[-1][-1] != b"WATCH"


def test_end_of_a_lease_that_the_node_confirmed_frees_the_next_one() -> None:
    cluster = Cluster()
    cluster.run(600)
    unit = cluster.bench.core.ctx.units["shop/1111aaaa"]
    old = unit.primary
    assert old.lease.granted_until_ms > cluster.bench.now_ms
    cluster.owners = {A: (C, 1), B: ("", 2), C: ("", 7), D: (B, 2)}
    cluster.bench.hear(7002, f"10.0.1.2,26001,{'e' * 40},4,shop/1111aaaa,10.0.0.1,7003,4")
    started_ms = cluster.bench.now_ms
    cluster.run(900)
    assert old.lease.granted_until_ms == 0
    assert cluster.guards_to(C)[-1][-1] != b"WATCH"
    assert cluster.bench.now_ms - started_ms < DOWN_AFTER_MS


def handing_over() -> Cluster:
    """A names C as its heir, and has called for a GUARD."""
    cluster = Cluster()
    cluster.run(600)
    cluster.heirs[A] = C
    cluster.bench.hear(7002, f"guard,{A},{cluster.clock_ms}")
    return cluster


def test_heir_is_leased_as_soon_as_the_primary_has_answered_the_call() -> None:
    cluster = handing_over()
    assert cluster.guards_to(C)[-1][-1] == b"WATCH", "not before the primary itself has said so"
    cluster.run(0)
    unit = cluster.bench.core.ctx.units["shop/1111aaaa"]
    assert unit.primary.lease.granted_until_ms == 0
    assert cluster.guards_to(C)[-1][-1] != b"WATCH"
    history = cluster.bench.history
    to_heir = {conn_id for conn_id, port in cluster.bench.ports.items() if port == PORTS[C]}
    guards = [(at, e) for at, e in enumerate(history) if isinstance(e, Send) and e.argv[1:2] == (b"GUARD",)]
    leased = next(at for at, e in guards if e.conn_id in to_heir and e.argv[-1] != b"WATCH")
    saved = [e.content for e in history[:leased] if isinstance(e, Persist)][-1]
    assert f" {C}\n" in saved.split("known-shard shop 1111aaaa", 1)[1], "the holder is on disk first"
    cluster.run(900)
    assert cluster.guards_to(A)[-1][-1] == b"WATCH"
    assert cluster.bench.core.leases.may_vote_at_ms(unit) > cluster.bench.now_ms, "the lease of an heir counts"


def test_primary_without_an_heir_is_leased_when_the_lease_of_the_last_one_has_ended() -> None:
    cluster = handing_over()
    cluster.run(40)
    cluster.heirs.clear()
    before = len(cluster.sent)
    cluster.bench.hear(7002, f"guard,{A},{cluster.clock_ms + 1}")
    cluster.run(40)
    later = [(port, argv) for port, argv in cluster.sent[before:] if argv[1:2] == (b"GUARD",)]
    ended = next(at for at, (port, argv) in enumerate(later) if port == PORTS[C] and argv[-1] == b"WATCH")
    leased = next(at for at, (port, argv) in enumerate(later) if port == PORTS[A] and argv[-1] != b"WATCH")
    assert ended < leased


def test_heir_of_a_dead_primary_is_leased_no_longer() -> None:
    cluster = handing_over()
    cluster.run(40)
    cluster.kill(A)
    cluster.run(600)
    assert cluster.guards_to(C)[-1][-1] == b"WATCH"
    assert cluster.bench.core.ctx.units["shop/1111aaaa"].failover.active


@pytest.mark.parametrize("word", ["guard", "guard,", f"guard,{A}", f"guard,{A},x", f"guard,{B},5,6", "guard,\0,1"])
def test_what_is_no_call_is_ignored(word: str) -> None:
    cluster = Cluster()
    cluster.run(600)
    before = len(cluster.guards_to(A))
    cluster.bench.hear(7002, word)
    assert len(cluster.guards_to(A)) == before


def test_restarted_sentinel_votes_only_after_one_lease_period() -> None:
    cluster = Cluster()
    cluster.run(600)
    cluster.bench.call("SENTINEL", "FLUSHCONFIG")
    again = Cluster(cluster.bench.saved())
    again.run(300)
    question = ("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", "7001", "5", "e" * 40)
    again.kill(A)
    assert again.bench.call(*question)[1:] == [b"*", 0]  # type: ignore[index]
    again.run(DOWN_AFTER_MS)
    assert again.bench.call(*question)[1:] != [b"*", 0]  # type: ignore[index]


def test_other_node_at_the_address_gets_no_lease() -> None:
    cluster = Cluster()
    cluster.run(600)
    bench = cluster.bench
    leased = len(cluster.guards_to(A))
    bench.drop(7001)
    bench.advance(300)
    bench.accept(7001)
    stranger = {"PING": b"PONG", "MYID": b"9" * 40, "INFO": info()}
    for _ in range(20):
        channels = [channel for channel, _, instance in bench.core.ctx.connections.values() if instance.node_id == A]
        if not any(channel.up and not channel.pubsub for channel in channels):
            break  # the connection to a stranger was closed
        bench.answer(7001, stranger)
        bench.advance(50)
    else:
        pytest.fail("still connected to the stranger")
    assert (b"CLUSTER", b"MYID") in bench.sent(bench.history)
    assert len(cluster.guards_to(A)) == leased


def test_epoch_of_the_newest_order_a_node_obeyed_is_learned() -> None:
    cluster = Cluster()
    cluster.fence_epoch = 17
    cluster.run(600)
    assert "+new-epoch" in cluster.events
    assert cluster.bench.core.ctx.current_epoch == 17


def test_cluster_that_moved_as_a_whole_is_found_again_by_the_name_in_the_monitor_line() -> None:
    names = "sentinel resolve-hostnames yes\n"
    cluster = Cluster(names + CONFIG.replace("10.0.0.1", "seed.example"))
    cluster.run(600)
    bench = cluster.bench
    bench.call("SENTINEL", "FLUSHCONFIG")
    assert "sentinel monitor shop seed.example 7001 1" in bench.saved()
    again = SentinelBench(bench.saved())
    again.advance(4_900)
    assert not [e for e in again.history if isinstance(e, Connect) and e.host == "seed.example"]
    again.advance(1_000)
    assert [e.port for e in again.history if isinstance(e, Connect) and e.host == "seed.example"] == [7001, 7001]


def test_shard_that_gets_another_id_stays_the_same_unit() -> None:
    cluster = Cluster()
    cluster.run(300)
    cluster.shard_ids = (b"9999dddd", b"3333bbbb4444")
    cluster.run(1_500)
    units = cluster.bench.core.ctx.units
    assert list(units) == ["shop/1111aaaa", "shop/3333bbbb"]
    assert units["shop/1111aaaa"].shard_id == "9999dddd"


# Stock nodes, operators


def test_stock_nodes_get_no_leases_and_a_plain_takeover() -> None:
    cluster = Cluster(ours=False)
    cluster.run(600)
    assert not cluster.guards_to(A)
    cluster.kill(A)
    cluster.run(300)
    orders = [argv for port, argv in cluster.sent if port == PORTS[C] and argv[1:2] == (b"FAILOVER",)]
    assert orders == [(b"CLUSTER", b"FAILOVER", b"TAKEOVER")]


def test_ordered_failover_of_a_healthy_shard_is_a_coordinated_one() -> None:
    cluster = Cluster()
    cluster.run(600)
    cluster.bench.call("SENTINEL", "FAILOVER", "shop/1111aaaa")
    orders = [argv for argv in cluster.bench.sent() if argv[1:2] == (b"FAILOVER",)]
    assert orders == [(b"CLUSTER", b"FAILOVER")]


@pytest.mark.parametrize("command", [("SET", "quorum", "2"), ("REMOVE",)])
def test_shard_is_set_and_removed_only_with_its_cluster(command: tuple[str, ...]) -> None:
    cluster = Cluster()
    cluster.run(300)
    reply = cluster.bench.call("SENTINEL", command[0], "shop/1111aaaa", *command[1:])
    assert isinstance(reply, ErrorReply)
    assert "guarded cluster 'shop'" in reply.text


def test_removed_guard_frees_the_nodes() -> None:
    cluster = Cluster()
    cluster.run(600)
    cluster.bench.call("SENTINEL", "SET", "shop", "down-after-milliseconds", "3000")
    assert {unit.settings.down_after_ms for unit in cluster.bench.core.ctx.units.values()} == {3000}
    cluster.bench.call("SENTINEL", "REMOVE", "shop")
    assert [argv for argv in cluster.bench.sent() if argv[1] == b"UNGUARD"] == [(b"CLUSTER", b"UNGUARD", b"shop")] * 4
    assert not cluster.bench.core.ctx.units
    assert not cluster.bench.core.ctx.guards
    assert "known-shard" not in cluster.bench.saved()


def published(cluster: Cluster, ms: int) -> int:
    """How many hello messages go out over the bus in that time."""
    cluster.sent.clear()
    cluster.run(ms)
    return sum(argv[0] == b"PUBLISH" for _, argv in cluster.sent)


def test_shards_of_a_large_cluster_take_turns_in_saying_hello(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    cluster.run(5_000)
    assert 18 <= published(cluster, 20_000) <= 20, "two shards, each in every period"
    monkeypatch.setattr(peers, "UNITS_PER_PERIOD", 1)
    assert 18 <= published(cluster, 20_000) <= 20, "who knows no other sentinel waits for no turn"
    for unit in cluster.bench.core.ctx.units.values():
        place = f"{unit.primary.address.host},{unit.primary.address.port}"
        cluster.bench.hear(7002, f"10.0.1.2,26001,{'e' * 40},0,{unit.name},{place},0")
        assert unit.sentinels
    cluster.run(5_000)
    assert 9 <= published(cluster, 20_000) <= 15
    cluster.bench.core.failover.announce_soon(cluster.bench.core.ctx.units["shop/1111aaaa"])
    assert published(cluster, 20) == 1, "news waits for no turn"


def test_hello_does_not_make_a_stranger_the_primary_of_a_shard() -> None:
    """Who belongs to a shard is the cluster's word; a record without a node id could not be read back either."""
    cluster = Cluster()
    cluster.run(3_000)
    unit = cluster.bench.core.ctx.units["shop/1111aaaa"]
    cluster.bench.hear(7002, f"10.0.1.2,26001,{'e' * 40},5,shop/1111aaaa,10.9.9.9,7001,5")
    assert unit.primary.node_id == A
    assert unit.config_epoch < 5
    cluster.bench.hear(7002, f"10.0.1.2,26001,{'e' * 40},5,shop/1111aaaa,10.0.0.1,{PORTS[C]},5")
    assert unit.primary.node_id == C


def test_two_ids_at_one_address_are_one_node_in_the_file() -> None:
    """A node that was reset goes by another id, and the cluster tells of both for a while."""
    cluster = Cluster()
    cluster.run(3_000)
    core = cluster.bench.core
    unit = core.ctx.units["shop/1111aaaa"]
    (replica,) = unit.replicas.values()
    twin = core.roster.new_instance("replica", "twin", replica.address, unit.settings, unit)
    twin.node_id, twin.guard = "9" * 40, replica.guard
    unit.replicas["twin"] = twin
    again = SentinelBench(core.render()).core.ctx.units["shop/1111aaaa"]
    assert [member.node_id for member in again.members()] == [A, C]
