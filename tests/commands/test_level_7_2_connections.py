"""Connections, transactions, users and INFO at compat-level 7.2: what later servers answer differently."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.inprocess import InProcessClient, InProcessNode


@pytest.fixture
def node(tmp_path: Path) -> Iterator[InProcessNode]:
    (tmp_path / "users.acl").write_bytes(b"")
    with InProcessNode("--compat-level", "7.2", "--aclfile", str(tmp_path / "users.acl")) as running:
        yield running


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def field(line: bytes, name: str) -> int:
    """A number of a CLIENT LIST line or of INFO."""
    found = re.search(rf"(?:^|\s){name}[=:](-?\d+)".encode(), line)
    assert found is not None, name
    return int(found[1])


# -- transactions and subscriptions ------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("MULTI",), ("WATCH", "k")])
def test_nested_multi_or_watch_spoils_the_transaction(client: InProcessClient, words: tuple[str, ...]) -> None:
    client.call("MULTI")
    assert client.raw(*words) == b"-ERR Command not allowed inside a transaction\r\n"
    assert client.raw("EXEC").startswith(b"-EXECABORT")


def test_select_goes_behind_multi_in_the_stream(node: InProcessNode) -> None:
    fed: list[tuple[int, list[bytes]]] = []
    node.server.propagation.feeds.append(lambda db, argv: fed.append((db, argv)))
    client = node.client()
    for words in (("MULTI",), ("SET", "a", "1"), ("SET", "b", "2"), ("EXEC",)):
        client.call(*words)
    assert [(db, argv[0]) for db, argv in fed] == [(-1, b"MULTI"), (0, b"SET"), (0, b"SET"), (-1, b"EXEC")]


@pytest.mark.parametrize("word", ["unsubscribe", "punsubscribe", "sunsubscribe"])
def test_unsubscribing_without_any_subscription_is_an_error(client: InProcessClient, word: str) -> None:
    assert client.raw(word, "a") == b"-NOSUB '%b' command executed not in subscribed mode\r\n" % word.encode()


def test_last_subscription_may_end_inside_a_transaction(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    client.raw("SUBSCRIBE", "a")
    client.raw("MULTI")
    client.raw("UNSUBSCRIBE", "a")
    client.raw("UNSUBSCRIBE", "a")
    reply = client.raw("EXEC")
    assert reply.count(b"unsubscribe") == 2
    assert b"NOSUB" not in reply


# -- CLIENT ------------------------------------------------------------------------------------------------------


def test_client_line_counts_bytes_and_commands(client: InProcessClient) -> None:
    request = len(b"*2\r\n$6\r\nCLIENT\r\n$4\r\nINFO\r\n")
    first, second = client.call("CLIENT", "INFO"), client.call("CLIENT", "INFO")
    assert field(second, "tot-net-in") - field(first, "tot-net-in") == request
    assert field(second, "tot-net-out") - field(first, "tot-net-out") > len(first)
    assert field(second, "tot-cmds") - field(first, "tot-cmds") == 1
    assert field(second, "qbuf") == 0
    assert b" lib-name= lib-ver= " in second


def test_blocked_command_counts_for_its_client_once_it_is_served(node: InProcessNode) -> None:
    waiter, other = node.client(), node.client()
    number = waiter.call("CLIENT", "ID")
    waiter.send(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nl\r\n$1\r\n0\r\n")
    assert field(other.call("CLIENT", "LIST", "ID", str(number)), "tot-cmds") == 1
    other.call("RPUSH", "l", "x")
    assert waiter.received().endswith(b"x\r\n")
    assert field(other.call("CLIENT", "LIST", "ID", str(number)), "tot-cmds") == 2


def test_client_line_counts_watched_keys(client: InProcessClient) -> None:
    client.call("WATCH", "a", "b")
    assert field(client.call("CLIENT", "INFO"), "watch") == 2


# -- users -------------------------------------------------------------------------------------------------------


def test_rules_about_commands_are_repeated_as_they_were_said(client: InProcessClient) -> None:
    client.call("ACL", "SETUSER", "u", "+@all", "-@hash", "-@slow", "+hget", "+client|id", "-@hash")
    assert client.call("ACL", "LIST")[1] == (
        b"user u off sanitize-payload resetchannels +@all -@slow +hget +client|id -@hash"
    )
    client.call("ACL", "SETUSER", "u", "-@all", "+memory|doctor", "+memory")
    assert client.call("ACL", "LIST")[1] == b"user u off sanitize-payload resetchannels -@all +memory"


def test_denials_name_the_user_and_are_counted(node: InProcessNode, client: InProcessClient) -> None:
    client.call("ACL", "SETUSER", "u", "on", "nopass", "+get", "+publish", "~mine")
    other = node.client()
    other.call("AUTH", "u", "")
    assert other.raw("SET", "k", "v") == b"-NOPERM User u has no permissions to run the 'set' command\r\n"
    assert other.raw("GET", "k") == b"-NOPERM No permissions to access a key\r\n"
    assert other.raw("PUBLISH", "c", "m") == b"-NOPERM No permissions to access a channel\r\n"
    assert other.raw("AUTH", "u2", "x").startswith(b"-WRONGPASS")
    info = client.call("INFO", "stats")
    assert [field(info, f"acl_access_denied_{what}") for what in ("auth", "cmd", "key", "channel")] == [1, 1, 1, 1]
    assert client.call("ACL", "DRYRUN", "u", "get", "k") == b"User u has no permissions to access the 'k' key"


def test_entry_of_the_log_keeps_its_number_while_it_grows(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    client.raw("AUTH", "nobody", "x")
    node.advance(5000)
    client.raw("AUTH", "nobody", "x")
    client.raw("AUTH", "somebody", "x")
    newest, grown = client.call("ACL", "LOG")
    assert [newest[b"entry-id"], grown[b"entry-id"], grown[b"count"]] == [1, 0, 2]
    assert grown[b"timestamp-last-updated"] - grown[b"timestamp-created"] == 5000
    assert b"cmd=auth" in grown[b"client-info"]


def test_denial_within_a_script_names_its_caller(node: InProcessNode, client: InProcessClient) -> None:
    client.call("ACL", "SETUSER", "u", "on", "nopass", "+eval", "+client")
    other = node.client()
    other.call("AUTH", "u", "")
    number = other.call("CLIENT", "ID")
    other.raw("EVAL", "return redis.call('incr', 'x')", "0")
    entry = node.client(resp3=True).call("ACL", "LOG")[0]
    assert [entry[b"context"], entry[b"object"]] == [b"lua", b"incr"]
    assert field(entry[b"client-info"], "id") == number
    assert b"cmd=eval" in entry[b"client-info"]


def test_blocked_command_needs_its_rights_when_it_is_served(node: InProcessNode, client: InProcessClient) -> None:
    client.call("ACL", "SETUSER", "u", "on", "nopass", "+@all", "~*")
    other = node.client()
    other.call("AUTH", "u", "")
    other.send(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nl\r\n$1\r\n0\r\n")
    client.call("ACL", "SETUSER", "u", "resetkeys")
    client.call("RPUSH", "l", "x")
    assert other.received() == b"-NOPERM No permissions to access a key\r\n"
    assert client.call("LLEN", "l") == 1


def test_load_closes_only_connections_that_lost_something(node: InProcessNode, client: InProcessClient) -> None:
    for user in ("stays", "loses", "goes"):
        client.call("ACL", "SETUSER", user, "on", "nopass", "+@all", "&a*")
    client.call("ACL", "SAVE")
    path = Path(node.server.config.aclfile)
    kept = [line for line in path.read_bytes().split(b"\n") if b" goes " not in line]
    path.write_bytes(b"\n".join(line.replace(b"&a*", b"&b*") if b" loses " in line else line for line in kept))
    listeners = {user: node.client() for user in ("stays", "loses", "goes")}
    for user, listener in listeners.items():
        listener.call("AUTH", user, "")
        listener.call("SUBSCRIBE", "a1")
    client.call("ACL", "LOAD")
    assert {user: listener.served.sock is not None for user, listener in listeners.items()} == {
        "stays": True,
        "loses": False,
        "goes": False,
    }
    assert listeners["stays"].served.user is node.server.acl.users[b"stays"]


def test_hello_takes_the_last_of_repeated_options(client: InProcessClient) -> None:
    client.call("ACL", "SETUSER", "u", "on", ">p", "+@all")
    reply = client.raw("HELLO", "2", "AUTH", "u", "no", "SETNAME", "a", "AUTH", "u", "p", "SETNAME", "b")
    assert not reply.startswith(b"-")
    assert [client.call("ACL", "WHOAMI"), client.call("CLIENT", "GETNAME")] == [b"u", b"b"]
    assert client.raw("HELLO", "2", "SETNAME", "c", "AUTH", "u", "no").startswith(b"-WRONGPASS")
    assert client.call("CLIENT", "GETNAME") == b"b"


# -- INFO and CONFIG ---------------------------------------------------------------------------------------------


def test_info_tells_who_listens_and_watches(node: InProcessNode, client: InProcessClient) -> None:
    listener, watcher = node.client(), node.client()
    listener.call("SSUBSCRIBE", "a")
    watcher.call("WATCH", "k", "l")
    info = client.call("INFO", "clients")
    assert [field(info, name) for name in ("pubsub_clients", "watching_clients", "total_watched_keys")] == [1, 1, 2]


def test_info_tells_of_the_event_loop_and_hides_the_debug_section(node: InProcessNode) -> None:
    client = node.client()
    node.server.stats.loop.end_cycle(5_000_000, node.server.stats.commands)
    info = client.call("INFO", "stats")
    assert [field(info, "eventloop_cycles"), field(info, "eventloop_duration_sum")] == [1, 5000]
    assert b"eventloop_duration_max" not in client.call("INFO", "everything")
    assert field(client.call("INFO", "debug"), "eventloop_duration_max") == 5000


def test_errors_that_scripts_make_up_share_a_counter_beyond_a_number(client: InProcessClient) -> None:
    for number in range(130):
        client.raw("EVAL", f"return redis.error_reply('E{number} x')", "0")
    client.raw("GET")
    info = client.call("INFO", "errorstats")
    assert b"errorstat_ERRORSTATS_OVERFLOW:count=2\r\n" in info
    assert b"errorstat_ERR:count=1\r\n" in info


def test_config_lists_no_directive_that_is_gone(client: InProcessClient) -> None:
    assert b"io-threads-do-reads" not in client.call("CONFIG", "GET", "io-*")
    assert client.call("CONFIG", "GET", "io-threads-do-reads") == [b"io-threads-do-reads", b"no"]


# -- messages to oneself -----------------------------------------------------------------------------------------


def test_message_to_oneself_follows_the_reply_of_the_command_that_caused_it(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    client.raw("SUBSCRIBE", "c")
    message = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
    assert client.raw("PUBLISH", "c", "m") == b":1\r\n" + message
    client.raw("MULTI")
    client.raw("PUBLISH", "c", "m")
    client.raw("PING")
    assert client.raw("EXEC") == b"*2\r\n:1\r\n+PONG\r\n" + message
    assert client.raw("EVAL", "redis.call('publish', 'c', 'm') return 'x'", "0") == b"$1\r\nx\r\n" + message


def test_message_to_oneself_is_not_silenced_with_the_reply(node: InProcessNode) -> None:
    client = node.client(resp3=True)
    client.raw("SUBSCRIBE", "c")
    client.raw("CLIENT", "REPLY", "OFF")
    assert client.raw("PUBLISH", "c", "m").startswith(b">3\r\n$7\r\nmessage")


def test_commands_of_a_script_count_for_its_caller(client: InProcessClient) -> None:
    before = field(client.call("CLIENT", "INFO"), "tot-cmds")
    client.call("EVAL", "redis.call('ping') redis.call('ping')", "0")
    assert field(client.call("CLIENT", "INFO"), "tot-cmds") - before == 4


def test_slow_log_names_the_client_whose_script_called(client: InProcessClient) -> None:
    client.call("CLIENT", "SETNAME", "me")
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "0")
    client.call("EVAL", "return redis.call('ping')", "0")
    (inner,) = (entry for entry in client.call("SLOWLOG", "GET") if entry[3] == [b"ping"])
    assert inner[5] == b"me"


def test_last_command_of_a_transaction_is_exec(client: InProcessClient) -> None:
    client.call("MULTI")
    client.call("GET", "k")
    client.call("EXEC")
    assert client.served.last_command == b"exec"
