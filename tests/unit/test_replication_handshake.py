"""What a replica says until the stream starts, line by line."""

from __future__ import annotations

import pytest

from slotmesh.node.replication.handshake import Failed, FullSync, Handshake, HandshakePlan, OldSync, Resume
from slotmesh.node.resp.encoder import encode_command

ID = b"0123456789" * 4
PLAIN = HandshakePlan(listening_port=7000)


def commands(*argvs: bytes) -> bytes:
    return b"".join(encode_command(argv.split()) for argv in argvs)


def up_to_psync(plan: HandshakePlan = PLAIN) -> Handshake:
    handshake = Handshake(plan)
    handshake.start()
    handshake.on_line(b"+PONG")
    while handshake.stage != "psync":
        handshake.on_line(b"+OK")
    return handshake


def test_handshake_plain_says_ping_then_who_it_is_then_psync() -> None:
    handshake = Handshake(PLAIN)
    assert handshake.start() == commands(b"PING")
    assert handshake.on_line(b"+PONG") == commands(b"REPLCONF listening-port 7000", b"REPLCONF capa eof capa psync2")
    assert handshake.on_line(b"+OK") == b""
    assert handshake.on_line(b"+OK") == commands(b"PSYNC ? -1")
    assert handshake.outcome is None


def test_handshake_with_everything_sends_it_in_stock_order() -> None:
    plan = HandshakePlan(7000, b"10.0.0.1", b"repl", b"secret", ID, 77, failover=True)
    handshake = Handshake(plan)
    handshake.start()
    assert handshake.on_line(b"-NOAUTH Authentication required.") == commands(
        b"AUTH repl secret",
        b"REPLCONF listening-port 7000",
        b"REPLCONF ip-address 10.0.0.1",
        b"REPLCONF capa eof capa psync2",
    )
    stages = []
    sent = b""
    while not sent:
        stages.append(handshake.stage)
        sent = handshake.on_line(b"+OK")
    assert stages == ["auth", "listening-port", "ip-address", "capa"]
    assert sent == commands(b"PSYNC " + ID + b" 77 FAILOVER")


@pytest.mark.parametrize(
    "line", [b"-NOAUTH Authentication required.", b"-NOPERM x", b"-ERR operation not permitted", b"+PONG"]
)
def test_handshake_ping_reply_that_may_be_ignored_goes_on(line: bytes) -> None:
    handshake = Handshake(PLAIN)
    assert handshake.on_line(line)
    assert handshake.outcome is None


@pytest.mark.parametrize("line", [b"-LOADING Redis is loading the dataset in memory", b":1", b"-MASTERDOWN x"])
def test_handshake_ping_reply_of_another_kind_ends_it(line: bytes) -> None:
    handshake = Handshake(PLAIN)
    assert handshake.on_line(line) == b""
    assert isinstance(handshake.outcome, Failed)
    assert line.decode() in handshake.outcome.reason


def test_handshake_wrong_password_ends_it() -> None:
    handshake = Handshake(HandshakePlan(7000, password=b"secret"))
    handshake.on_line(b"-NOAUTH Authentication required.")
    handshake.on_line(b"-WRONGPASS invalid username-password pair or user is disabled.")
    assert isinstance(handshake.outcome, Failed)
    assert "Unable to AUTH to MASTER" in handshake.outcome.reason


def test_handshake_replconf_errors_are_only_remarked() -> None:
    handshake = Handshake(PLAIN)
    handshake.on_line(b"+PONG")
    handshake.on_line(b"-ERR Unrecognized REPLCONF option: listening-port")
    assert handshake.on_line(b"-ERR Unrecognized REPLCONF option: capa") == commands(b"PSYNC ? -1")
    assert len(handshake.remarks) == 2


def test_handshake_full_resync_gives_history_and_offset() -> None:
    handshake = up_to_psync()
    assert handshake.on_line(b"") == b""
    assert handshake.outcome is None
    handshake.on_line(b"+FULLRESYNC " + ID + b" 12345")
    assert handshake.outcome == FullSync(ID, 12345)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b" " + ID,
        b" abc 5",
        b" " + ID + b" x",
        b" " + ID + b" -1",
        b" " + ID + b" " + b"9" * 5000,
        b" " + b"\xff" * 40 + b" 1",
    ],
)
def test_handshake_malformed_full_resync_ends_it(tail: bytes) -> None:
    handshake = up_to_psync()
    handshake.on_line(b"+FULLRESYNC" + tail)
    assert isinstance(handshake.outcome, Failed)


def test_handshake_continue_gives_the_name_if_there_is_one() -> None:
    handshake = up_to_psync()
    handshake.on_line(b"+CONTINUE " + ID)
    assert handshake.outcome == Resume(ID)
    handshake = up_to_psync()
    handshake.on_line(b"+CONTINUE")
    assert handshake.outcome == Resume(None)


@pytest.mark.parametrize("line", [b"-NOMASTERLINK Can't SYNC while not connected with my master", b"-LOADING x"])
def test_handshake_psync_refused_for_now_is_a_passing_failure(line: bytes) -> None:
    handshake = up_to_psync()
    handshake.on_line(line)
    assert isinstance(handshake.outcome, Failed)
    assert handshake.outcome.passing
    assert handshake.outcome.psync


def test_handshake_psync_unknown_falls_back_to_sync() -> None:
    handshake = up_to_psync()
    assert handshake.on_line(b"-ERR unknown command 'PSYNC'") == b"SYNC\r\n"
    assert handshake.outcome == OldSync()


def test_handshake_failover_refused_never_falls_back_to_sync() -> None:
    handshake = up_to_psync(HandshakePlan(7000, replid=ID, next_offset=5, failover=True))
    assert handshake.on_line(b"-ERR PSYNC FAILOVER replid must match my replid.") == b""
    assert isinstance(handshake.outcome, Failed)
    assert handshake.outcome.psync
