"""Requests from bytes: the fast path declines what it cannot prove; the exact parser may be cut anywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotmesh.node.base.native import compiled
from slotmesh.node.resp.encoder import encode_command
from slotmesh.node.resp.parser import MAX_LINE, Parsed, ProtocolError, RequestParser, parse_plain_in_python

MAX_BULK = 512 * 1024 * 1024
PING = encode_command([b"PING"])

Quick = Callable[[bytes], Parsed]
NEEDS_COMPILED = pytest.mark.skipif(compiled is None, reason="the compiled twins were not built here")
TWINS = pytest.mark.parametrize(
    "parse",
    [
        pytest.param(parse_plain_in_python, id="plain"),
        pytest.param(
            compiled and compiled.parse_plain,
            id="compiled",
            marks=NEEDS_COMPILED,
        ),
    ],
)
ODDITIES = (
    PING,
    encode_command([b"GET", b"a"]),
    b"*1\r\n",
    b"$1\r\n",
    b"a\r\n",
    b"PING\r\n",
    b":1\r\n",
    b"*0\r\n",
    b"\r\n",
)

COMMANDS = st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=5), min_size=1, max_size=4)


def parse_exact(chunks: list[bytes], **options: bool) -> list[list[bytes]]:
    parser = RequestParser(MAX_BULK, **options)
    commands = []
    for chunk in chunks:
        parser.feed(chunk)
        while (argv := parser.next_command()) is not None:
            commands.append(argv)
    assert parser.idle
    return commands


PLAIN = st.text("abc{}:019 \0$-", max_size=20).map(str.encode)


@TWINS
@given(st.lists(st.lists(PLAIN, min_size=1, max_size=5), min_size=1, max_size=4))
def test_quick_road_gives_the_commands_of_a_whole_chunk(parse: Quick, commands: list[list[bytes]]) -> None:
    chunk = b"".join(map(encode_command, commands))
    assert parse(chunk) == (commands, len(chunk), False)


@TWINS
@given(COMMANDS, st.data())
def test_quick_road_whatever_it_takes_the_exact_parser_agrees(
    parse: Quick, commands: list[list[bytes]], data: st.DataObject
) -> None:
    whole = b"".join(map(encode_command, commands))
    chunk = whole[: data.draw(st.integers(1, len(whole)))]
    parsed, used, rest_is_plain = parse(chunk)
    assert b"".join(map(encode_command, parsed)) == chunk[:used]
    assert not (rest_is_plain and used == len(chunk))
    if rest_is_plain:  # more may come: nothing that is left may be a whole command
        rest = RequestParser(MAX_BULK)
        rest.feed(chunk[used:])
        assert rest.next_command() is None
        assert not rest.idle


@TWINS
@given(st.lists(st.sampled_from(ODDITIES), min_size=1, max_size=6).map(b"".join))
def test_quick_road_given_anything_never_takes_what_the_exact_parser_refuses(parse: Quick, chunk: bytes) -> None:
    parsed, used, _ = parse(chunk)
    exact = RequestParser(MAX_BULK)
    exact.feed(chunk)
    for argv in parsed:
        assert exact.next_command() == argv
    assert len(chunk) - exact.unread_bytes == used


@NEEDS_COMPILED
@given(COMMANDS, st.data())
def test_compiled_quick_road_takes_all_whole_commands_of_a_cut_chunk(
    commands: list[list[bytes]], data: st.DataObject
) -> None:
    whole = b"".join(map(encode_command, commands))
    cut = data.draw(st.integers(1, len(whole)))
    parsed, used, rest_is_plain = compiled.parse_plain(whole[:cut])
    count = sum(len(b"".join(map(encode_command, commands[: n + 1]))) <= cut for n in range(len(commands)))
    assert parsed == commands[:count]
    assert rest_is_plain == (used < cut)


@settings(deadline=None)
@given(COMMANDS)
def test_exact_parser_split_at_every_byte_gives_the_same_commands(commands: list[list[bytes]]) -> None:
    whole = b"".join(map(encode_command, commands))
    for cut in range(len(whole) + 1):
        assert parse_exact([whole[:cut], whole[cut:]]) == commands


@given(COMMANDS)
def test_exact_parser_fed_byte_by_byte_gives_the_same_commands(commands: list[list[bytes]]) -> None:
    whole = b"".join(map(encode_command, commands))
    assert parse_exact([whole[i : i + 1] for i in range(len(whole))]) == commands


@pytest.mark.parametrize(
    "chunk",
    [
        b"PING\r\n",
        b"*1\r\n$4\r\nPING\r\nPING\r\n",
        b"*1\r\n$4\r\nPIN",
        b"*2\r\n$3\r\nGET\r\n",
        b"*2\r\n$3\r\nGET\r\n$2\r\n",
        b"*2\r\n$3\r\nGET\r\n:5\r\n",
        b"*2\r\n$3\r\nGET\r\n+OK\r\n",
        b"*2\r\n$3\r\nGET\r\n*1\r\n$1\r\na\r\n",
        b"*2\r\n$3\r\nGET\r\n$-1\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b":0\r\n",
        b"*1\r\n$4\r\nPING\r\n:0\r\n",
        b"-ERR\r\n",
        b"_\r\n",
        b"%1\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"*2147483647\r\n",
        b"*1\r\n$4\r\nPING\r\n*2147483647\r\n",
        b"*1\r\n*2147483647\r\n",
        b"*1\r\n>2147483647\r\n",
        b">2147483647\r\n",
    ],
)
@TWINS
def test_quick_road_declines_what_no_plain_request_is(parse: Quick, chunk: bytes) -> None:
    parsed, used, _ = parse(chunk)
    assert b"".join(map(encode_command, parsed)) == chunk[:used]
    assert used < len(chunk)
    assert parse(PING)[0] == [[b"PING"]], "nothing is kept from a chunk that was declined"


@NEEDS_COMPILED
@pytest.mark.parametrize(
    "chunk",
    [
        b"*1\r\n$65537\r\n" + b"x" * 65537 + b"\r\n",
        b"*70000\r\n" + b"$1\r\na\r\n" * 10,
        b"*01\r\n$4\r\nPING\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*1\r\n$4\r\nPINGxx",
        b"*1\r$4\r\nPING\r\n",
    ],
)
def test_compiled_quick_road_leaves_the_long_and_the_odd_to_the_exact_parser(chunk: bytes) -> None:
    assert compiled.parse_plain(chunk) == ([], 0, False)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"PING\r\n", [[b"PING"]]),
        (b"PING\n", [[b"PING"]]),
        (b"\r\n\r\nPING\r\n", [[b"PING"]]),
        (b"  set  a   'b c'  \r\n", [[b"set", b"a", b"b c"]]),
        (b'set a "\\x41\\n\\"q"\r\n', [[b"set", b"a", b'A\n"q']]),
        (b"*0\r\nPING\r\n", [[b"PING"]]),
        (b"*-1\r\n*1\r\n$4\r\nPING\r\n", [[b"PING"]]),
        (b"*1\r\n$0\r\n\r\n", [[b""]]),
        (b"*2\r\n$3\r\nGET\r\n$7\r\na\x00\r\nb\r\n\r\n", [[b"GET", b"a\x00\r\nb\r\n"]]),
    ],
)
def test_exact_parser_reads_inline_and_odd_but_legal_requests(data: bytes, wanted: list[list[bytes]]) -> None:
    for cut in range(len(data) + 1):
        assert parse_exact([data[:cut], data[cut:]]) == wanted


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"*abc\r\n", "Protocol error: invalid multibulk length"),
        (b"*+1\r\n", "Protocol error: invalid multibulk length"),
        (b"*2147483648\r\n", "Protocol error: invalid multibulk length"),
        (b"*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'"),
        (b"*1\r\n:1\r\n", "Protocol error: expected '$', got ':'"),
        (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$abc\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"),
        (b'set a "b\r\n', "Protocol error: unbalanced quotes in request"),
        (b"set a 'b'c\r\n", "Protocol error: unbalanced quotes in request"),
        (b"x" * (MAX_LINE + 1), "Protocol error: too big inline request"),
        (b"*" + b"1" * (MAX_LINE + 1), "Protocol error: too big mbulk count string"),
        (b"*1\r\n$" + b"1" * (MAX_LINE + 1), "Protocol error: too big bulk count string"),
    ],
)
def test_exact_parser_names_what_broke_the_protocol(data: bytes, text: str) -> None:
    parser = RequestParser(MAX_BULK)
    parser.feed(data)
    with pytest.raises(ProtocolError) as caught:
        parser.next_command()
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"*11\r\n", "Protocol error: unauthenticated multibulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "Protocol error: unauthenticated bulk length"),
    ],
)
def test_exact_parser_holds_strangers_to_small_requests(data: bytes, text: str) -> None:
    parser = RequestParser(MAX_BULK, authenticated=False)
    parser.feed(data)
    with pytest.raises(ProtocolError, match=text):
        parser.next_command()
    parse = RequestParser(MAX_BULK)
    parse.feed(data)
    assert parse.next_command() is None
    assert not parse.idle


def test_exact_parser_does_not_grow_with_what_it_has_handed_out() -> None:
    parser = RequestParser(MAX_BULK)
    command = encode_command([b"SET", b"k", b"v" * 1000])
    for _ in range(100):
        parser.feed(command + command[:20])
        assert parser.next_command() is not None
        parser.feed(command[20:])
        assert parser.next_command() is not None
        assert parser.held_bytes == 0
