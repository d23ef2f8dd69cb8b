"""What the rest of the server sees of a script: propagation, statistics, monitors, rights, states without writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from slotmesh.node.base.gates import SERVER_MEMORY
from slotmesh.node.spec import registry
from tests.support.inprocess import InProcessClient, InProcessNode

INCREMENT = "return redis.call('incr', KEYS[1])"
CAP = "local n = tonumber(redis.call('get', KEYS[1]) or '0') "
CAP += "if n < 3 then return redis.call('incr', KEYS[1]) end return n"


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as started:
        yield started


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def run(client: InProcessClient, script: str, *args: str) -> Any:
    return client.call("EVAL", script, *(args or ("0",)))


def calls_of(name: str) -> tuple[int, int, int]:
    """(calls, rejected, failed) of a command."""
    spec = registry.find([word.encode() for word in name.split("|")])
    return spec.calls, spec.rejected_calls, spec.failed_calls


# -- propagation -------------------------------------------------------------------------------------------------------


def test_one_write_goes_out_as_it_is(node: InProcessNode, client: InProcessClient) -> None:
    run(client, INCREMENT, "1", "n")
    assert node.take_propagated() == [[b"incr", b"n"]]


def test_several_writes_go_out_as_one_transaction(node: InProcessNode, client: InProcessClient) -> None:
    run(client, "redis.call('set', 'a', 1) redis.call('get', 'a') redis.call('spop', 'nosuch') redis.call('del', 'a')")
    assert node.take_propagated() == [[b"MULTI"], [b"set", b"a", b"1"], [b"del", b"a"], [b"EXEC"]]


def test_script_that_reads_sends_nothing(node: InProcessNode, client: InProcessClient) -> None:
    run(client, "redis.call('get', 'a') return redis.call('exists', 'a')")
    assert node.take_propagated() == []


def test_effects_before_an_error_go_out(node: InProcessNode, client: InProcessClient) -> None:
    run(client, "redis.call('set', 'a', 1) redis.call('incr', 'a') error('x')")
    assert node.take_propagated() == [[b"MULTI"], [b"set", b"a", b"1"], [b"incr", b"a"], [b"EXEC"]]


def test_rewritten_effects_go_out(node: InProcessNode, client: InProcessClient) -> None:
    client.call("SADD", "s", "x")
    node.take_propagated()
    run(client, "redis.call('spop', 's')")
    stock = [[b"SREM", b"s", b"x"]]
    assert node.take_propagated() == stock


def test_set_repl_decides_who_gets_what_follows(node: InProcessNode, client: InProcessClient) -> None:
    run(
        client,
        "redis.call('set', 'a', 1) redis.set_repl(redis.REPL_NONE) redis.call('set', 'b', 1) "
        "redis.set_repl(redis.REPL_REPLICA) redis.call('set', 'c', 1) redis.set_repl(redis.REPL_ALL) "
        "redis.call('set', 'd', 1)",
    )
    log = [[b"MULTI"], [b"set", b"a", b"1"], [b"set", b"d", b"1"], [b"EXEC"]]  # the test's feed is not the replicas'
    assert node.take_propagated() == log
    run(client, "redis.set_repl(redis.REPL_NONE)")
    run(client, "redis.call('set', 'e', 1)")
    assert node.take_propagated() == [[b"set", b"e", b"1"]]


def test_script_in_a_transaction_is_part_of_its_unit(node: InProcessNode, client: InProcessClient) -> None:
    for request in (["MULTI"], ["SET", "a", "1"], ["EVAL", INCREMENT, "1", "a"], ["EXEC"]):
        client.call(*request)
    assert node.take_propagated() == [[b"MULTI"], [b"SET", b"a", b"1"], [b"incr", b"a"], [b"EXEC"]]


def test_libraries_are_propagated_as_they_were_loaded(node: InProcessNode, client: InProcessClient) -> None:
    code = "#!lua name=l\nredis.register_function('f', function() return 1 end)"
    client.call("FUNCTION", "LOAD", code)
    client.call("FUNCTION", "LOAD", code)  # fails
    client.call("FCALL", "f", "0")
    client.call("FUNCTION", "DELETE", "l")
    client.call("FUNCTION", "FLUSH")
    client.call("SCRIPT", "LOAD", "return 1")
    assert node.take_propagated() == [
        [b"FUNCTION", b"LOAD", code.encode()],
        [b"FUNCTION", b"DELETE", b"l"],
        [b"FUNCTION", b"FLUSH"],
    ]


def test_script_that_caps_a_counter_never_exceeds_it(client: InProcessClient) -> None:
    assert [run(client, CAP, "1", "n") for _ in range(6)] == [1, 2, 3, 3, 3, 3]


# -- observers ---------------------------------------------------------------------------------------------------------


def test_watched_key_that_a_script_changes_breaks_the_transaction(node: InProcessNode, client: InProcessClient) -> None:
    client.call("WATCH", "n")
    run(node.client(), INCREMENT, "1", "n")
    client.call("MULTI")
    client.call("PING")
    assert client.call("EXEC") is None


def test_blocked_client_is_served_after_the_script(node: InProcessNode, client: InProcessClient) -> None:
    waiting = node.client()
    waiting.raw("BLPOP", "l", "0")
    assert run(client, "redis.call('rpush', 'l', 'a') return redis.call('llen', 'l')") == 1
    assert waiting.received() == b"*2\r\n$1\r\nl\r\n$1\r\na\r\n"


def test_keyspace_events_are_published(node: InProcessNode, client: InProcessClient) -> None:
    client.call("CONFIG", "SET", "notify-keyspace-events", "KEA")
    listener = node.client()
    listener.raw("PSUBSCRIBE", "__keyevent*")
    run(client, INCREMENT, "1", "n")
    assert b"incrby" in listener.received()


def test_keys_that_a_script_reads_are_tracked_for_its_caller(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    client.call("CLIENT", "TRACKING", "ON")
    run(client, "return redis.call('get', KEYS[1])", "1", "k")
    node.client().call("SET", "k", "v")
    assert client.received() == b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"


def test_monitor_sees_the_script_before_its_commands(node: InProcessNode, client: InProcessClient) -> None:
    watcher = node.client()
    watcher.raw("MONITOR")
    run(client, INCREMENT, "1", "n")
    first, second = watcher.received().splitlines()
    assert first.endswith(b'] "EVAL" "return redis.call(\'incr\', KEYS[1])" "1" "n"')
    assert second.endswith(b' [0 lua] "incr" "n"')


def test_slow_script_is_in_the_slow_log(client: InProcessClient) -> None:
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "5000")
    run(client, "for i = 1, 3e6 do end return 1")
    entries = client.call("SLOWLOG", "GET")
    assert entries[0][3] == [b"EVAL", b"for i = 1, 3e6 do end return 1", b"0"]


def test_statistics_count_the_script_and_its_commands(client: InProcessClient) -> None:
    client.call("CONFIG", "RESETSTAT")
    run(
        client,
        "redis.call('incr', 'n') redis.pcall('incr', 'n', 'x') redis.pcall('lpush', 'n', 1) redis.pcall('nosuch')",
    )
    assert calls_of("eval") == (1, 0, 0)
    assert calls_of("incr") == (1, 1, 0)
    assert calls_of("lpush") == (1, 0, 1)
    assert client.call("INFO", "errorstats") == (
        b"# Errorstats\r\nerrorstat_ERR:count=2\r\nerrorstat_WRONGTYPE:count=1\r\n"
    )


def test_error_of_a_command_that_ends_the_script_is_counted_once(client: InProcessClient) -> None:
    client.call("SET", "s", "x")
    client.call("CONFIG", "RESETSTAT")
    run(client, "return redis.call('incr', 's')")
    run(client, "error('mine')")
    assert calls_of("eval") == (2, 0, 2)
    assert client.call("INFO", "errorstats") == b"# Errorstats\r\nerrorstat_ERR:count=2\r\n"


def test_info_tells_what_is_kept(client: InProcessClient) -> None:
    def figures() -> dict[bytes, bytes]:
        lines = client.call("INFO", "memory").split(b"\r\n")
        return dict(line.split(b":") for line in lines if b":" in line)

    assert figures()[b"used_memory_vm_total"] == b"0"
    run(client, "return 1")
    run(client, "return 2")
    client.call("FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f', function() end)")
    told = figures()
    assert told[b"number_of_cached_scripts"] == b"2"
    assert told[b"number_of_libraries"] == told[b"number_of_functions"] == b"1"
    assert int(told[b"used_memory_vm_eval"]) > 50_000
    assert int(told[b"used_memory_scripts"]) == int(told[b"used_memory_scripts_eval"]) + int(
        told[b"used_memory_functions"]
    )
    client.call("SCRIPT", "FLUSH")
    assert figures()[b"number_of_cached_scripts"] == b"0"


# -- what a script may do ----------------------------------------------------------------------------------------------


def test_script_has_the_rights_of_its_caller(node: InProcessNode, client: InProcessClient) -> None:
    client.call("ACL", "SETUSER", "bob", "on", "nopass", "+eval", "+get", "+set", "~mine*", "+acl|whoami")
    bob = node.client()
    bob.call("AUTH", "bob", "x")
    assert run(bob, "return redis.call('set', KEYS[1], 1)", "1", "mine") == b"OK"
    start = "The user executing the script can't "
    assert start + "access at least one of the keys" in str(run(bob, "return redis.call('set', 'yours', 1)"))
    assert start + "run this command or subcommand" in str(run(bob, "return redis.call('del', 'mine')"))
    assert run(bob, "return {redis.acl_check_cmd('get', 'mine'), redis.acl_check_cmd('get', 'yours')}") == [1, None]
    log = client.call("ACL", "LOG")
    assert [dict(zip(entry[::2], entry[1::2], strict=True))[b"context"] for entry in log] == [b"lua", b"lua"]


def test_client_that_may_not_eval_may_not(node: InProcessNode, client: InProcessClient) -> None:
    client.call("ACL", "SETUSER", "bob", "on", "nopass", "+@all", "-@scripting", "~*")
    bob = node.client()
    bob.call("AUTH", "bob", "x")
    assert str(run(bob, "return 1")).startswith("NOPERM")
    assert str(bob.call("FUNCTION", "LIST")).startswith("NOPERM")


def test_read_only_replica_refuses_the_write_not_the_script(node: InProcessNode, client: InProcessClient) -> None:
    client.call("REPLICAOF", "127.0.0.1", "1")
    assert run(client, "return 1") == 1
    assert "READONLY You can't write against a read only replica. script:" in str(run(client, INCREMENT, "1", "n"))
    refusal = "READONLY You can't write against a read only replica."
    assert str(run(client, "#!lua\nreturn 1")) == refusal
    assert run(client, "#!lua flags=no-writes\nreturn 1") == 1
    assert str(client.call("FUNCTION", "FLUSH")) == refusal


@pytest.fixture
def full(node: InProcessNode, monkeypatch: pytest.MonkeyPatch) -> InProcessNode:
    """A node without memory left."""
    node.server.state.set_gate(SERVER_MEMORY, True)
    monkeypatch.setattr(node.server.eviction, "make_room", lambda: False)
    return node


def test_out_of_memory_stops_a_script_at_its_first_write(full: InProcessNode, client: InProcessClient) -> None:
    refusal = "OOM command not allowed when used memory > 'maxmemory'."
    assert run(client, "return 1") == 1
    assert str(run(client, "redis.call('set', 'x', 1)")).startswith(refusal)
    assert run(client, "redis.call('del', 'x') return redis.call('set', 'x', 1)") == b"OK"  # it has begun to write
    assert str(run(client, "#!lua\nreturn 1")) == refusal
    assert run(client, "#!lua flags=no-writes\nreturn redis.call('get', 'x')") == b"1"
    assert run(client, "#!lua flags=allow-oom\nreturn redis.call('set', 'x', 2)") == b"OK"


def test_paused_writes_hold_back_scripts_that_may_write(node: InProcessNode, client: InProcessClient) -> None:
    client.call("CLIENT", "PAUSE", "100000", "WRITE")
    assert run(client, "#!lua flags=no-writes\nreturn 1") == 1
    assert client.call("EVAL_RO", "return 1", "0") == 1
    held = node.client()
    assert held.raw("EVAL", "return 1", "0") == b""
    client.call("CLIENT", "UNPAUSE")
    assert held.received() == b":1\r\n"


def test_blocking_command_is_not_for_scripts(client: InProcessClient) -> None:
    assert "not allowed from script" in str(run(client, "return redis.call('blpop', 'l', 0)"))


def test_bug_in_a_handler_does_not_end_the_run(
    node: InProcessNode, client: InProcessClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(client: Any, argv: list[bytes]) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(registry.COMMANDS[b"echo"], "handler", broken)
    assert str(run(client, "return redis.pcall('echo', 'x')")).startswith("ERR internal error")
    assert run(client, "redis.pcall('echo', 'x') return 5") == 5
