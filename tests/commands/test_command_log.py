"""COMMANDLOG: its replies byte by byte, which commands each of the three logs takes, and what is measured for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slotmesh.node.acl.users import check_user_lines
from slotmesh.node.base.gates import SERVER_COMMAND_LOG
from slotmesh.node.clients.client import GATE_LARGE_REQUEST
from slotmesh.node.config.load import load_config
from slotmesh.node.config.rewrite import draft_of
from slotmesh.node.observe.command_log import QUICK_REQUEST, SHORT_REPLY, has_bytes, request_bytes
from slotmesh.node.resp.encoder import encode_command
from slotmesh.node.state import NEVER
from tests.support.inprocess import START_MS, InProcessClient, InProcessNode
from tests.tables.support import OK, Table, array, bulk, error, number, play, texts, wrong_arity

BAD_KIND = error("ERR type should be one of the following: slow, large-request, large-reply")
BAD_COUNT = error("ERR count should be greater than or equal to -1")

TABLE: Table = (
    ("COMMANDLOG", wrong_arity("commandlog")),
    ("COMMANDLOG NOSUCH", error("ERR unknown subcommand 'NOSUCH'. Try COMMANDLOG HELP.")),
    ("COMMANDLOG GET 1", wrong_arity("commandlog|get")),
    ("COMMANDLOG GET 1 slow x", wrong_arity("commandlog|get")),
    ("COMMANDLOG GET x slow", BAD_COUNT),
    ("COMMANDLOG GET -2 slow", BAD_COUNT),
    ("COMMANDLOG GET -2 fast", BAD_COUNT),
    ("COMMANDLOG GET 1 fast", BAD_KIND),
    ("COMMANDLOG LEN", wrong_arity("commandlog|len")),
    ("COMMANDLOG LEN fast", BAD_KIND),
    ("COMMANDLOG RESET fast", BAD_KIND),
    ("COMMANDLOG LEN Slow", number(0)),
    ("COMMANDLOG LEN large-request", number(0)),
    ("COMMANDLOG LEN LARGE-REPLY", number(0)),
    ("COMMANDLOG RESET slow", OK),
    ("COMMANDLOG GET -1 slow", array()),
    ("CONFIG SET commandlog-request-larger-than 60", OK),
    ("COMMANDLOG RESET large-request", OK),
    ("SET key " + 40 * "v", OK),
    (
        "COMMANDLOG GET 5 large-request",
        array(
            array(
                number(1),
                number(START_MS // 1000),
                number(69),
                texts("SET", "key", 40 * "v"),
                bulk("127.0.0.1:1"),
                bulk(""),
            )
        ),
    ),
    ("COMMANDLOG RESET large-request", OK),
    ("COMMANDLOG LEN large-request", number(0)),
)


@pytest.fixture
def node() -> Iterator[InProcessNode]:
    with InProcessNode() as node:
        yield node


@pytest.fixture
def client(node: InProcessNode) -> InProcessClient:
    return node.client()


def logged(client: InProcessClient, kind: str) -> list[Any]:
    """The entries of a log, newest first."""
    return list(client.call("COMMANDLOG", "GET", "-1", kind))


def set_config(client: InProcessClient, name: str, value: int) -> None:
    assert client.raw("CONFIG", "SET", name, value) == OK
    client.raw("COMMANDLOG", "RESET", "large-request")
    client.raw("COMMANDLOG", "RESET", "large-reply")


@pytest.mark.parametrize("resp3", [False, True], ids=["resp2", "resp3"])
def test_every_request_gets_its_exact_reply(resp3: bool) -> None:
    with InProcessNode("--slowlog-log-slower-than", "-1") as node:
        client = node.client(resp3=resp3)
        play(TABLE, lambda words: client.raw(*words), resp3=resp3)


# -- the directives --------------------------------------------------------------------------------------------


def test_the_slow_log_has_two_names_and_so_have_its_directives(client: InProcessClient) -> None:
    client.call("CONFIG", "SET", "commandlog-execution-slower-than", "0")
    client.call("PING")
    slow = logged(client, "slow")
    assert slow[0][3] == [b"PING"]
    assert client.call("SLOWLOG", "LEN") == len(slow) + 1
    assert client.call("SLOWLOG", "GET", "-1")[-len(slow) :] == slow
    assert client.call("CONFIG", "GET", "slowlog-log-slower-than") == [b"slowlog-log-slower-than", b"0"]
    client.call("CONFIG", "SET", "commandlog-slow-execution-max-len", "2")
    assert client.call("COMMANDLOG", "LEN", "slow") == 2
    assert client.call("CONFIG", "GET", "slowlog-max-len") == [b"slowlog-max-len", b"2"]
    client.call("CONFIG", "SET", "slowlog-log-slower-than", "-1")
    client.call("SLOWLOG", "RESET")
    client.call("PING")
    assert logged(client, "slow") == []


def test_thresholds_are_a_mebibyte_and_lengths_128_by_default(client: InProcessClient) -> None:
    for kind, log in (("request", "large-request"), ("reply", "large-reply")):
        name, length = f"commandlog-{kind}-larger-than", f"commandlog-{log}-max-len"
        assert client.call("CONFIG", "GET", name)[1] == b"1048576"
        assert client.call("CONFIG", "GET", length)[1] == b"128"
        assert client.raw("CONFIG", "SET", name, -2).startswith(b"-ERR CONFIG SET failed")


def test_glob_patterns_of_config_get_do_not_show_what_7_0_lacks(client: InProcessClient) -> None:
    assert client.call("CONFIG", "GET", "commandlog*") == []


def test_files_may_use_the_newer_names(tmp_path: Path) -> None:
    path = tmp_path / "node.conf"
    path.write_text("commandlog-execution-slower-than 123\ncommandlog-request-larger-than -1\n")
    config = load_config([str(path)], check_user_lines)
    assert (config.slowlog_log_slower_than, config.commandlog_request_larger_than) == (123, -1)
    config.set([(b"commandlog-execution-slower-than", b"456"), (b"commandlog-large-reply-max-len", b"7")])
    draft_of(config).put_in_place()
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert sum("slower-than" in line for line in lines) == 1
    again = load_config([str(path)], check_user_lines)
    assert (again.slowlog_log_slower_than, again.commandlog_large_reply_max_len) == (456, 7)


# -- what is measured ------------------------------------------------------------------------------------------


def test_defaults_leave_small_commands_on_the_fast_path(node: InProcessNode) -> None:
    server = node.server
    assert not server.state.gates & SERVER_COMMAND_LOG
    assert server.state.request_limit == server.state.reply_limit == 1 << 20


@pytest.mark.parametrize(
    ("directive", "quick"),
    [("commandlog-request-larger-than", QUICK_REQUEST), ("commandlog-reply-larger-than", SHORT_REPLY)],
)
def test_small_limits_send_every_command_through_dispatch(node: InProcessNode, directive: str, quick: int) -> None:
    client = node.client()
    for value, gate in ((quick, True), (quick + 1, False), (0, True), (-1, False)):
        client.call("CONFIG", "SET", directive, str(value))
        assert bool(node.server.state.gates & SERVER_COMMAND_LOG) is gate, value


def test_a_log_of_length_zero_measures_nothing(node: InProcessNode) -> None:
    client = node.client()
    client.call("CONFIG", "SET", "commandlog-request-larger-than", "0", "commandlog-reply-larger-than", "0")
    client.call("CONFIG", "SET", "commandlog-large-request-max-len", "0", "commandlog-large-reply-max-len", "0")
    assert not node.server.state.gates & SERVER_COMMAND_LOG
    assert node.server.state.request_limit == node.server.state.reply_limit == NEVER
    client.call("PING")
    assert logged(client, "large-request") == []


@pytest.mark.parametrize("argv", [[b"PING"], [b"SET", b"", b"x" * 1000], [b"MSET"] + [b"12"] * 200])
def test_size_of_a_request_is_that_of_its_resp(argv: list[bytes]) -> None:
    assert request_bytes(argv) == len(encode_command(argv))


# -- large requests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [[b"PING"], [b"SET", b"k", b"v" * 1000], [b"MSET", *[b"", b"x" * 12] * 500]], ids=len)
def test_whether_a_request_has_so_many_bytes_is_exact(argv: list[bytes]) -> None:
    size = len(encode_command(argv))
    assert has_bytes(argv, size)
    assert not has_bytes(argv, size + 1)


def test_request_at_the_limit_is_logged_and_one_below_is_not(client: InProcessClient) -> None:
    size = request_bytes([b"SET", b"k", b"v" * 100])
    set_config(client, "commandlog-request-larger-than", size)
    client.call("SET", "k", "v" * 99)
    assert logged(client, "large-request") == []
    client.call("SET", "k", "v" * 100)
    client.call("SET", "k", "v" * 101)
    assert [(entry[0], entry[2]) for entry in logged(client, "large-request")] == [(1, size + 1), (0, size)]


def test_requests_that_are_refused_or_executed_by_scripts_are_not_logged(client: InProcessClient) -> None:
    set_config(client, "commandlog-request-larger-than", 80)
    client.call("SET", "k")
    client.call("GET", "k" * 100, "x")
    client.call("NOSUCH", "k" * 100)
    client.call("EVAL", "for i = 1, 3 do redis.call('set', KEYS[1], string.rep('x', 90)) end", "1", "k")
    assert [entry[3][0] for entry in logged(client, "large-request")] == [b"EVAL"]


def test_queued_requests_are_logged_when_they_come(client: InProcessClient) -> None:
    set_config(client, "commandlog-request-larger-than", 100)
    client.call("MULTI")
    client.call("SET", "k", "v" * 100)
    client.call("DISCARD")
    assert [entry[3] for entry in logged(client, "large-request")] == [[b"SET", b"k", b"v" * 100]]


def test_passwords_are_hidden_and_long_arguments_cut(client: InProcessClient) -> None:
    set_config(client, "commandlog-request-larger-than", 0)
    client.call("CONFIG", "SET", "requirepass", "secret")
    client.call("CONFIG", "SET", "requirepass", "")
    client.call("AUTH", "name", "secret" * 30)
    client.call("SET", "k", "v" * 130)
    entries = logged(client, "large-request")
    assert entries[0][3] == [b"SET", b"k", b"v" * 128 + b"... (2 more bytes)"]
    assert not any(b"secret" in word for entry in entries for word in entry[3])


def test_request_marked_by_the_parser_is_logged_once_it_has_run(node: InProcessNode) -> None:
    client = node.client()
    assert node.server.state.request_limit == 1 << 20
    client.served.set_gate(GATE_LARGE_REQUEST, True)
    client.call("SET", "k", "v" * (1 << 20))
    (entry,) = logged(client, "large-request")
    assert entry[2] > 1 << 20
    assert not client.served.gates & GATE_LARGE_REQUEST
    client.served.set_gate(GATE_LARGE_REQUEST, True)
    client.call("NOSUCH", "v" * (1 << 20))
    assert not client.served.gates & GATE_LARGE_REQUEST
    assert client.call("COMMANDLOG", "LEN", "large-request") == 1


# -- large replies ---------------------------------------------------------------------------------------------


def test_reported_reply_is_logged_from_the_limit_on(node: InProcessNode) -> None:
    client = node.client()
    client.call("CLIENT", "SETNAME", "me")
    for size in ((1 << 20) - 1, 1 << 20, 1 << 21):
        node.server.note_large_reply(client.served, [b"get", b"k"], size)
    node.server.note_large_reply(client.served, [b"nosuch"], 1 << 21)
    assert logged(client, "large-reply") == [
        [1, START_MS // 1000, 1 << 21, [b"get", b"k"], b"127.0.0.1:1", b"me"],
        [0, START_MS // 1000, 1 << 20, [b"get", b"k"], b"127.0.0.1:1", b"me"],
    ]


def test_transaction_logs_the_large_replies_of_its_commands(client: InProcessClient) -> None:
    client.call("SET", "k", "v" * 5000)
    set_config(client, "commandlog-reply-larger-than", 4096)
    client.call("MULTI")
    for words in ("GET k", "PING", "GETRANGE k 0 10", "MGET k k"):
        client.call(*words.split())
    client.call("EXEC")
    entries = [entry for entry in logged(client, "large-reply") if entry[3][0] != b"EXEC"]
    assert [(entry[3][0], entry[2]) for entry in entries] == [(b"MGET", 10022), (b"GET", 5009)]


def test_reply_that_came_late_is_logged_when_it_comes(node: InProcessNode) -> None:
    client, other = node.client(), node.client()
    set_config(other, "commandlog-reply-larger-than", 4096)
    client.call("BLPOP", "list", "0")
    other.call("RPUSH", "list", "v" * 5000)
    assert len(client.received()) > 5000
    (entry,) = logged(other, "large-reply")
    assert (entry[3], entry[4]) == ([b"BLPOP", b"list", b"0"], b"127.0.0.1:1")


def test_logs_see_what_comes_and_goes_on_the_hot_path() -> None:
    with InProcessNode() as node:
        client = node.client()
        value = b"x" * 2_000_000
        assert client.call("SET", "k", value) == b"OK"
        assert client.call("GET", "k") == value
        client.call("RPUSH", "list", *[b"y" * 1000] * 120)
        for _ in range(10):
            client.call("RPUSH", "list", *[b"y" * 1000] * 120)
        assert len(client.call("LRANGE", "list", "0", "-1")) == 1320
        requests = client.call("COMMANDLOG", "GET", "-1", "large-request")
        replies = client.call("COMMANDLOG", "GET", "-1", "large-reply")
    assert [(entry[2], entry[3][:2]) for entry in requests] == [(2_000_000 + 32, [b"SET", b"k"])]
    assert [(entry[2], entry[3][:2]) for entry in replies] == [
        (1320 * 1009 + 7, [b"LRANGE", b"list"]),
        (2_000_000 + 12, [b"GET", b"k"]),
    ]


@pytest.mark.parametrize("limit", [0, 100, SHORT_REPLY, SHORT_REPLY + 1, 4096])
@pytest.mark.parametrize("resp3", [False, True], ids=["resp2", "resp3"])
def test_replies_of_every_kind_are_logged_with_their_exact_size(resp3: bool, limit: int) -> None:
    with InProcessNode() as node:
        client = node.client(resp3=resp3)
        client.call("MSET", "small", "v" * 50, "middle", "v" * 1500, "large", "v" * 5000)
        client.call("SADD", "set", *(f"member:{n}" for n in range(1000)))
        client.call("HSET", "hash", *(f"{n}" for n in range(2000)))
        client.call("ZADD", "zset", *(f"{n}" for n in range(2000)))
        client.call("RPUSH", "list", *(f"{n}" for n in range(2000)))
        set_config(client, "commandlog-reply-larger-than", limit)
        wanted = []
        for request in (
            "GET small",
            "GET middle",
            "GET large",
            "GET nosuch",
            "STRLEN large",
            "SET new 1",
            "MGET small small",
            "MGET large small",
            "SMEMBERS set",
            "HGETALL hash",
            "ZRANGE zset 0 -1 WITHSCORES",
            "LRANGE list 0 -1",
            "LRANGE list 0 1",
            "HELLO",
            "PING",
        ):
            words = request.split()
            size = len(client.raw(*words))
            if size >= limit:
                wanted.append((size, [word.encode() for word in words]))
        found = [(entry[2], entry[3]) for entry in reversed(logged(client, "large-reply"))]
        assert [entry for entry in found if entry[1][0] not in (b"COMMANDLOG", b"CONFIG")] == wanted


def test_pipelined_replies_are_measured_one_by_one(client: InProcessClient) -> None:
    client.call("SET", "k", "v" * 3000)
    set_config(client, "commandlog-reply-larger-than", 4000)
    client.send(encode_command([b"GET", b"k"]) * 50 + encode_command([b"MGET", b"k", b"k"]))
    assert [entry[3][0] for entry in logged(client, "large-reply")] == [b"MGET"]


def test_refusals_before_authentication_are_no_replies_to_log() -> None:
    with InProcessNode("--requirepass", "secret", "--commandlog-reply-larger-than", "0") as node:
        stranger, client = node.client(), node.client()
        assert stranger.raw("GET", "k").startswith(b"-NOAUTH")
        client.call("AUTH", "secret")
        assert not any(entry[3][0] == b"GET" for entry in logged(client, "large-reply"))
