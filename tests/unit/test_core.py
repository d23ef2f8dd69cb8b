"""Tests of ``cluster.core``: the shape of the machine, its settings, publishing, and a small cluster end to end."""

from __future__ import annotations

from random import Random

from slotmesh.cluster.config import ClusterConfig
from slotmesh.cluster.core import TICK_MS, ClusterCore
from slotmesh.cluster.effects import DeliverPublish, Persist, PersistSoon, RoleChanged
from slotmesh.cluster.events import LinkDown, Tick
from slotmesh.cluster.messages import Fail, Pong, Publish
from slotmesh.cluster.terms import FLAG_NOFAILOVER
from tests.support.lone_core import START_MS, TIMEOUT_MS, LoneCore, node_id


def test_new_node_is_a_primary_alone_and_saves_itself_at_once() -> None:
    core = ClusterCore(ClusterConfig(port=7000, cport=17000), Random(1), START_MS)
    (persist,) = core.take_effects()
    assert isinstance(persist, Persist)
    assert persist.sync
    me = core.view.myself
    assert persist.text == (
        f"{me.node_id} :7000@17000 myself,master - 0 0 0 connected\n"
        f"vars currentEpoch 0 lastVoteEpoch 0 shardId {me.shard_id}\n"
    )
    assert core.take_effects() == []


def test_new_nodes_with_different_dice_have_different_ids() -> None:
    cores = [ClusterCore(ClusterConfig(port=7000, cport=17000), Random(seed), START_MS) for seed in range(20)]
    assert len({core.view.myself.node_id for core in cores}) == 20


def test_replica_is_told_whom_to_replicate_when_it_starts() -> None:
    lone = LoneCore("R2")
    (change,) = lone.wanted(RoleChanged)
    assert (change.primary_id, change.why) == (node_id("P2"), "start")


def test_extra_ticks_do_no_harm() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.step(Tick())
    due_ms, text = lone.core.next_deadline_ms(), lone.core.state_text()
    lone.step(Tick())
    lone.step(Tick())
    assert lone.core.next_deadline_ms() == due_ms
    assert lone.core.state_text() == text


def at_rest() -> LoneCore:
    """Everybody has answered, the cluster is well, and one tick has found that out."""
    lone = LoneCore("P1")
    lone.greet()
    lone.hear("P2")  # its link is accepted
    lone.pass_ms(3000, silent=())
    assert lone.core.view.cluster_ok
    return lone


def test_nothing_is_due_before_the_next_ping_while_nothing_is_going_on() -> None:
    lone = at_rest()
    pongs_ms = [lone.member(name).pong_received_ms for name in lone.others()]
    assert lone.core.next_deadline_ms() == min(pongs_ms) + TIMEOUT_MS // 2 + 1
    due_ms = lone.core.next_deadline_ms()
    lone.hear("P2")
    assert lone.core.next_deadline_ms() == due_ms, "a heartbeat that says nothing new calls for nothing"


def test_ten_times_a_second_while_something_is_going_on() -> None:
    lone = at_rest()
    lone.step(LinkDown(next(iter(lone.core.view.links))))
    assert lone.core.next_deadline_ms() <= lone.now_ms + TICK_MS
    lone = at_rest()
    lone.say("P2", Fail(lone.header("P2"), node_id("P3")))
    assert lone.core.next_deadline_ms() <= lone.now_ms + TICK_MS
    lone.pass_ms(1000, silent=("P3",))
    assert lone.core.next_deadline_ms() <= lone.now_ms + TICK_MS
    lone = at_rest()
    lone.order("meet", "10.9.9.9", 7000, 17000)
    assert lone.core.next_deadline_ms() <= lone.now_ms + TICK_MS


def test_clock_that_steps_back_is_not_followed() -> None:
    lone = LoneCore("P1")
    lone.greet()
    before = lone.core.view.now_ms
    lone.core.step(before - 5000, Tick())
    assert lone.core.view.now_ms == before


def test_persist_is_the_first_effect_of_every_batch() -> None:
    lone = LoneCore("R1")
    lone.greet()
    for step in range(3):
        lone.hear("R2", primary_id="", flags=1, config_epoch=5 + step, current_epoch=5 + step, slots=lone.share("P2"))
    assert lone.wanted(PersistSoon)
    lone.core.admin(lone.now_ms).failover(takeover=True)
    batch = lone.core.take_effects()
    assert isinstance(batch[0], Persist)
    assert sum(isinstance(effect, Persist | PersistSoon) for effect in batch) == 1


def test_publish_goes_to_all_nodes_and_sharded_to_those_of_the_shard() -> None:
    lone = LoneCore("P2", replicas=2)
    lone.greet()
    lone.core.publish(lone.now_ms, b"news", b"hello")
    lone._carry_out()
    assert sorted(lone.receivers(Publish)) == sorted(lone.others())
    lone.drain()
    lone.core.publish(lone.now_ms, b"news", b"hello", sharded=True)
    lone._carry_out()
    assert lone.receivers(Publish) == ["R2", "S2"]
    assert lone.sent(Publish)[0].sharded
    replica = LoneCore("R2", replicas=2)
    replica.greet()
    replica.core.publish(replica.now_ms, b"news", b"hello", sharded=True)
    replica._carry_out()
    assert replica.receivers(Publish) == ["P2", "S2"]


def test_publish_of_a_member_is_delivered_and_that_of_a_stranger_is_not() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.say("P2", Publish(lone.header("P2"), b"c", b"m", sharded=True))
    lone.say("X1", Publish(lone.header("P2", sender=node_id("X1")), b"c", b"m"))
    assert lone.wanted(DeliverPublish) == [DeliverPublish(b"c", b"m", True)]


def test_new_settings_are_obeyed_told_and_saved() -> None:
    lone = LoneCore("R1")
    lone.greet()
    config = ClusterConfig(
        port=7000,
        cport=17000,
        node_timeout_ms=5000,
        announce_ip="203.0.113.9",
        announce_port=9000,
        announce_hostname="nine.example.org",
        replica_no_failover=True,
    )
    lone.core.set_config(lone.now_ms, config)
    lone._carry_out()
    assert "203.0.113.9:9000@17000,nine.example.org myself,slave,nofailover" in lone.core.state_text()
    assert lone.wanted(PersistSoon)
    lone.hear("P1")
    (pong,) = lone.sent(Pong)
    assert (pong.header.ip, pong.header.port) == ("203.0.113.9", 9000)
    assert pong.header.flags & FLAG_NOFAILOVER
    assert pong.extensions.hostname == "nine.example.org"
    lone.core.set_config(lone.now_ms, ClusterConfig(port=7000, cport=17000))
    assert lone.core.view.myself.ip == ""


def test_save_is_written_and_synced_on_demand() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.core.save()
    lone._carry_out()
    assert [persist.sync for persist in lone.wanted(Persist)] == [True]


def test_unknown_link_events_are_harmless() -> None:
    lone = LoneCore("P1")
    lone.greet()
    lone.step(LinkDown(12345, "who?"))
    assert lone.wanted(Persist) == []
