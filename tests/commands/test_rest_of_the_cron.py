"""The housekeeping of a node that has nothing to do: when it rests, and what ends the rest."""

from __future__ import annotations

import pytest

from slotmesh.node.serving.cron import QUIET_COMMANDS, REST_MS, Cron
from slotmesh.node.spec import registry
from tests.support.inprocess import InProcessNode


async def settle(cron: Cron) -> None:
    """Tick until there is nothing left to do, and rest."""
    for _ in range(10):
        cron._ticked_ms = cron._state.clock.mono_ms
        if not await cron._tick():
            break
    cron._rest()


@pytest.mark.trio
async def test_node_without_work_rests_a_second_and_a_command_ends_that() -> None:
    with InProcessNode() as node:
        cron, client = node.server.cron, node.client()
        await settle(cron)
        assert cron.at_rest
        assert cron._next_tick_ms() == cron._ticked_ms + REST_MS
        client.call("SET", "key", "value")
        assert not cron.at_rest
        assert cron._next_tick_ms() == cron._ticked_ms + 1000 // node.server.config.hz


@pytest.mark.trio
async def test_questions_whether_the_node_is_well_do_not_end_the_rest() -> None:
    with InProcessNode() as node:
        cron, client = node.server.cron, node.client()
        client.call("SET", "key", "value")
        await settle(cron)
        for words in (["PING"], ["INFO"], ["ROLE"], ["PUBLISH", "channel", "message"]):
            client.call(*words)
            assert cron.at_rest, words
        assert not await cron._tick()
        client.call("GET", "key")
        assert not cron.at_rest
        assert await cron._tick()


@pytest.mark.parametrize("name", QUIET_COMMANDS)
def test_quiet_commands_exist(name: str) -> None:
    assert registry.known(name) is not None


@pytest.mark.trio
@pytest.mark.parametrize("ttl_ms", [50, 400, 5000])
async def test_rest_ends_when_a_key_falls_due(ttl_ms: int) -> None:
    with InProcessNode() as node:
        cron, client = node.server.cron, node.client()
        await settle(cron)
        client.call("SET", "key", "value", "PX", str(ttl_ms))
        client.call("HSET", "hash", "field", "value")
        await settle(cron)
        due_ms = node.server.keyspace.next_expiry_ms() - node.server.clock.now_ms
        assert ttl_ms <= due_ms + 5
        assert cron._next_tick_ms() <= cron._ticked_ms + max(100, min(REST_MS, due_ms + 1))
        assert cron.at_rest == (due_ms >= 100)


@pytest.mark.trio
async def test_what_goes_on_keeps_the_housekeeping_going() -> None:
    with InProcessNode() as node:
        server, client = node.server, node.client()
        cron = server.cron
        client.call("CLIENT", "PAUSE", "100000", "WRITE")
        assert await cron._tick()
        assert await cron._tick(), "a pause has an end to be met"
        client.call("CLIENT", "UNPAUSE")
        await settle(cron)
        assert cron.at_rest
        cron.tasks.append(lambda: True)
        assert await cron._tick()
