"""Sentinels that guard a primary without a cluster: whom they lease, what they order, and what their file says."""

from __future__ import annotations

import pytest

from slotmesh.sentinel.effects import ErrorReply, Log, Reply, Send
from slotmesh.sentinel.instance import Unit
from tests.support.sentinel_bench import SentinelBench, info

PRIMARY, REPLICA = 6379, 6380
PEERS = {"a" * 40: 26001, "b" * 40: 26002}
DOWN_AFTER_MS = 3_000
CONFIG = f"""\
sentinel monitor m 10.0.0.1 6379 2
sentinel down-after-milliseconds m {DOWN_AFTER_MS}
sentinel known-replica m 10.0.0.2 6380
sentinel known-sentinel m 10.0.1.2 26001 {"a" * 40}
"""
THIRD = f"sentinel known-sentinel m 10.0.1.3 26002 {'b' * 40}\n"
NODE_CLOCK_MS = 77_000
REFUSAL = ErrorReply("NOPERM this user has no permissions to run the 'cluster|guard' command")


class World:
    """Two servers of ours, or stock ones, that answer all the sentinel sends them."""

    def __init__(self, config: str = CONFIG + THIRD, *, ours: bool = True, guarded: bool = False) -> None:
        self.bench = SentinelBench(config)
        self.extra: dict[str, object] = {"server_name": "slotmesh"} if ours else {}
        if guarded:
            self.extra["cluster_guard_leases"] = 0
        self.refusal: ErrorReply | None = None
        self.heir = b""
        self.facts: dict[int, dict[str, object]] = {PRIMARY: {}, REPLICA: {}}
        self.roles = {PRIMARY: "master", REPLICA: "slave"}
        self.silent: set[int] = set()
        self.sent: list[tuple[int, tuple[bytes, ...]]] = []

    @property
    def unit(self) -> Unit:
        return self.bench.core.ctx.units["m"]

    def run(self, ms: int) -> None:
        """Let time pass; whoever is not silent answers what has come."""
        for _ in range(max(1, ms // 20)):
            for port in (PRIMARY, REPLICA, *PEERS.values()):
                if port not in self.silent:
                    self.bench.accept(port)
                    self._answer(port)
            self.bench.advance(20)

    def _answer(self, port: int) -> None:
        clock_ms = NODE_CLOCK_MS + self.bench.now_ms
        heir: list[Reply] = [self.heir] if self.heir and port == PRIMARY else []
        guard: Reply = self.refusal or [clock_ms, 0, 1, 0, *heir]
        for conn_id in self.bench.open_connections(port):
            known = self.bench.core.ctx.connections.get(conn_id)  # an answer may have ended one
            if known is not None and not known[0].pubsub:
                self.bench.answer(port, {"PING": b"PONG", "INFO": self._info(port), "GUARD": guard})

    def _info(self, port: int) -> bytes:
        role = self.roles.get(port, "sentinel")
        above = {"master_host": "10.0.0.1", "master_port": 6379, "master_link_status": "up", "slave_repl_offset": 10}
        return info(role, **((above if role == "slave" else {}) | self.extra | self.facts.get(port, {})))

    def guards(self, port: int) -> list[tuple[bytes, ...]]:
        """The GUARDs sent so far."""
        return self._commands(port, b"GUARD")

    def _commands(self, port: int, word: bytes) -> list[tuple[bytes, ...]]:
        sends = [effect for effect in self.bench.history if isinstance(effect, Send)]
        return [e.argv for e in sends if self.bench.ports[e.conn_id] == port and word in e.argv[:2]]

    def orders(self, port: int) -> list[tuple[bytes, ...]]:
        """The changes of role that were ordered so far."""
        return self._commands(port, b"SLAVEOF")

    def unguards(self, port: int) -> list[tuple[bytes, ...]]:
        return self._commands(port, b"UNGUARD")

    def is_leased(self, port: int) -> bool:
        return bool(self.guards(port)) and self.guards(port)[-1][-1] != b"WATCH"


def test_primary_of_ours_is_leased_and_its_replica_watched() -> None:
    world = World()
    world.run(1_000)
    assert world.is_leased(PRIMARY)
    assert {argv[-1] for argv in world.guards(REPLICA)} == {b"WATCH"}
    name, me, _epoch, lease_ms, voters, _echo = world.guards(PRIMARY)[-1][2:]
    assert (name, me, lease_ms, voters) == (b"m", b"f" * 40, b"%d" % DOWN_AFTER_MS, b"3")


@pytest.mark.parametrize(
    ("more", "ours", "guarded", "leased"),
    [
        (THIRD, True, False, True),
        (THIRD, False, False, False),
        (THIRD + "sentinel guard m no\n", True, True, False),
        ("", True, False, False),
        ("", True, True, True),
        ("sentinel guard m yes\n", True, False, True),
        ("sentinel guard m YES\n", False, False, False),
    ],
)
def test_who_is_guarded(more: str, ours: bool, guarded: bool, leased: bool) -> None:
    world = World(CONFIG + more, ours=ours, guarded=guarded)
    world.run(1_000)
    assert world.is_leased(PRIMARY) == leased
    assert bool(world.guards(REPLICA)) == leased


def test_server_that_takes_no_lease_is_asked_rarely_and_treated_as_stock() -> None:
    world = World()
    world.refusal = REFUSAL
    world.run(9_000)
    assert len(world.guards(PRIMARY)) == 1
    assert not world.bench.core.leases.leased(world.unit)
    world.run(2_000)
    assert len(world.guards(PRIMARY)) == 2
    logs = [effect.message for effect in world.bench.history if isinstance(effect, Log)]
    assert [text for text in logs if "takes no lease" in text] == [
        f"{name} takes no lease: {REFUSAL.text}" for name in ("m", "10.0.0.2:6380")
    ]
    world.refusal = None
    world.run(12_000)
    assert world.is_leased(PRIMARY)


def test_one_error_does_not_cost_the_primary_its_lease() -> None:
    world = World()
    world.run(1_000)
    world.refusal = REFUSAL
    world.run(600)
    world.refusal = None
    world.run(1_400)
    assert world.is_leased(PRIMARY)
    assert world.unit.primary.leasable


def test_heir_is_known_by_where_it_listens_and_leased_in_place_of_the_primary() -> None:
    world = World()
    world.run(DOWN_AFTER_MS + 500)  # nothing that a former life may have given is alive
    world.heir = b"10.0.0.2:6380"
    world.bench.hear(PRIMARY, f"guard,{'a' * 40},{NODE_CLOCK_MS + world.bench.now_ms}")
    world.run(100)
    assert world.is_leased(REPLICA)
    assert world.unit.primary.lease.granted_until_ms == 0
    assert "sentinel known-holder m 10.0.0.2 6380\n" in world.bench.saved(world.bench.history), "on disk before"


def test_connection_that_is_lost_with_every_lease_answered_leaves_nothing_under_way() -> None:
    """As when a promoted server disconnects its clients, sentinels among them: the next hand-over need not wait."""
    world = World()
    world.run(DOWN_AFTER_MS + 500)
    world.bench.drop(PRIMARY)
    world.run(500)
    world.heir = b"10.0.0.2:6380"
    world.run(1_000)
    assert world.is_leased(REPLICA)


def test_end_of_a_lease_is_known_again_one_lease_after_a_connection_was_lost_with_one_unanswered() -> None:
    world = World()
    world.run(DOWN_AFTER_MS + 500)
    world.silent.add(PRIMARY)
    world.run(DOWN_AFTER_MS // 2)
    world.bench.drop(PRIMARY)
    world.silent.clear()
    world.run(DOWN_AFTER_MS // 8)
    world.heir = b"10.0.0.2:6380"
    world.run(DOWN_AFTER_MS // 4)
    assert not world.is_leased(REPLICA), "a GUARD on the old connection may still be on its way"
    world.heir = b""
    world.run(DOWN_AFTER_MS)
    world.heir = b"10.0.0.2:6380"
    world.run(1_000)
    assert world.is_leased(REPLICA)


def test_call_of_another_process_is_not_followed() -> None:
    world = World()
    world.run(1_000)
    before = len(world.guards(PRIMARY))
    world.bench.hear(PRIMARY, f"guard,{'9' * 40},{NODE_CLOCK_MS + world.bench.now_ms}")
    assert len(world.guards(PRIMARY)) == before


def test_file_has_nothing_that_stock_does_not_know_while_the_primary_is_leased() -> None:
    world = World()
    world.run(2_000)
    assert world.unit.lease_holder == "10.0.0.1:6379"
    world.bench.call("SENTINEL", "FLUSHCONFIG")
    assert "holder" not in world.bench.saved()
    assert "guard" not in world.bench.saved()


def test_setting_and_holder_survive_a_restart() -> None:
    world = World(CONFIG + THIRD + "sentinel guard m yes\nsentinel known-holder m 10.0.0.2 6380\n")
    world.bench.call("SENTINEL", "FLUSHCONFIG")
    saved = world.bench.saved()
    assert "sentinel guard m yes\n" in saved
    assert "sentinel known-holder m 10.0.0.2 6380\n" in saved
    world.run(1_000)
    assert not world.is_leased(PRIMARY), "the other one may have a lease of our former life"
    world.run(DOWN_AFTER_MS)
    assert world.is_leased(PRIMARY)


def vote(world: World) -> Reply:
    return world.bench.call("SENTINEL", "IS-MASTER-DOWN-BY-ADDR", "10.0.0.1", "6379", "7", "a" * 40)


def test_restarted_sentinel_does_not_vote_over_a_lease_that_it_may_have_given() -> None:
    world = World()
    world.silent = {PRIMARY}
    world.run(500)
    assert vote(world) == [0, b"*", 0]
    world.run(DOWN_AFTER_MS)
    assert vote(world) == [1, b"a" * 40, 7]


def test_primary_that_says_it_is_stock_has_no_lease_to_wait_for() -> None:
    world = World(ours=False)
    world.run(500)
    assert vote(world) == [0, b"a" * 40, 7]


def test_primary_is_leased_no_longer_once_a_vote_for_its_successor_is_given() -> None:
    world = World()
    world.run(1_000)
    assert vote(world) == [0, b"*", 0], "it has a lease"
    world.silent = {PRIMARY}
    world.bench.drop(PRIMARY)
    for _ in range(2):
        world.bench.advance(150)
        world.bench.refuse(PRIMARY)
    assert vote(world) == [1, b"a" * 40, 7], "a dead process has none"
    world.silent = set()
    world.run(1_000)
    assert not world.is_leased(PRIMARY)


def test_reset_costs_the_primary_no_lease() -> None:
    world = World()
    world.run(1_000)
    assert world.bench.call("SENTINEL", "RESET", "m") == 1
    before = len(world.guards(PRIMARY))
    world.run(1_000)
    assert world.is_leased(PRIMARY)
    assert len(world.guards(PRIMARY)) > before


def test_removed_and_no_longer_guarded_primaries_are_released() -> None:
    world = World()
    world.run(1_000)
    assert world.bench.call("SENTINEL", "SET", "m", "guard", "no") == b"OK" or world.unit.settings.guard == "no"
    assert world.unguards(PRIMARY) == world.unguards(REPLICA) == [(b"CLUSTER", b"UNGUARD", b"m")]
    before = len(world.guards(PRIMARY))
    world.run(2_000)
    assert len(world.guards(PRIMARY)) == before
    world.bench.call("SENTINEL", "REMOVE", "m")
    assert len(world.unguards(PRIMARY)) == 2


def test_guard_that_was_ended_begins_again_only_where_it_would_anew() -> None:
    world = World(CONFIG, guarded=True)
    world.run(1_000)
    assert world.is_leased(PRIMARY), "one of two, but the primary needs it"
    world.bench.call("SENTINEL", "SET", "m", "guard", "no")
    world.extra.pop("cluster_guard_leases")
    before = len(world.guards(PRIMARY))
    world.bench.call("SENTINEL", "SET", "m", "guard", "auto")
    world.run(12_000)
    assert len(world.guards(PRIMARY)) == before
    world.bench.call("SENTINEL", "SET", "m", "guard", "yes")
    world.run(1_000)
    assert world.is_leased(PRIMARY)


def test_setting_has_three_words() -> None:
    world = World()
    reply = world.bench.call("SENTINEL", "SET", "m", "guard", "perhaps")
    assert isinstance(reply, ErrorReply)
    assert reply.text == "ERR Invalid argument 'perhaps' for SENTINEL SET 'guard'"


FENCED: dict[str, object] = {"cluster_guard_leases": 0, "cluster_guard_fenced": 1}
LEASED: dict[str, object] = FENCED | {"cluster_guard_fenced": 0}


@pytest.mark.parametrize(("facts", "brought_back"), [(FENCED, True), (LEASED, False)])
def test_stray_primary_is_brought_back_unless_others_lease_it(facts: dict[str, object], brought_back: bool) -> None:
    world = World()
    world.run(1_000)
    world.roles[REPLICA] = "master"
    world.facts[REPLICA] = facts
    world.run(40_000)
    assert bool(world.orders(REPLICA)) == brought_back


@pytest.mark.parametrize(("ours", "soon"), [(True, True), (False, False)])
def test_replica_of_another_is_brought_back_soon_where_the_known_primary_is_leased(ours: bool, soon: bool) -> None:
    world = World(ours=ours)
    world.facts = {PRIMARY: LEASED if ours else {}, REPLICA: {"master_host": "10.0.0.9", "slave_repl_offset": 10}}
    world.run(30_000)
    assert bool(world.orders(REPLICA)) == soon, "stock waits for failover-timeout, three minutes"


@pytest.mark.parametrize(("ours", "down"), [(True, True), (False, False)])
def test_leased_primary_that_says_it_is_a_replica_is_down_soon(ours: bool, down: bool) -> None:
    world = World(ours=ours)
    world.run(1_000)
    world.roles[PRIMARY] = "slave"
    world.run(11_000 + DOWN_AFTER_MS + 2_500)  # a period of INFO until it says so
    assert world.unit.primary.sdown == down
