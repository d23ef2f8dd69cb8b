"""What a false primary can say costs the link only: the replica drops it, tries again, and serves its clients."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from tests.support.false_primary import BIG, ID, IN_SYNC, FalsePrimary, command, rdb_with_aux, snapshot
from tests.support.processes import start_node, wait_until

_BIG_STRING: Final = b"\x53\x88" + BIG

#: What -> what it says in answer to PSYNC.
ANSWERS: Final = {
    "an offset of 5,000 digits": b"+FULLRESYNC %b %b\r\n" % (ID, BIG),
    "a history that is no text": b"+FULLRESYNC %b 1\r\n" % (b"\xff" * 40),
    "a length of 5,000 digits": b"+FULLRESYNC %b 0\r\n$%b\r\n" % (ID, BIG),
    "a length in other digits": b"+FULLRESYNC %b 0\r\n$\xd9\xa1\r\n" % ID,
    "a length beyond 64 bits": b"+FULLRESYNC %b 0\r\n$18446744073709551616\r\n" % ID,
    "a snapshot that is none": b"+FULLRESYNC %b 0\r\n$9\r\nREDISxxxx" % ID,
    "an aux database of 5,000 digits": snapshot(rdb_with_aux(b"repl-stream-db", _BIG_STRING)),
    "an aux offset of 5,000 digits": snapshot(rdb_with_aux(b"repl-offset", _BIG_STRING)),
    "an aux id that is no text": snapshot(rdb_with_aux(b"repl-id", b"\x28" + b"\xff" * 40)),
    "a database of 5,000 digits": IN_SYNC + command(b"SELECT", BIG),
    "a database within MULTI": IN_SYNC + command(b"MULTI") + command(b"SELECT", BIG) + command(b"EXEC"),
    "commands of wrong arity": IN_SYNC + command(b"SET", b"k") + command(b"GET") + command(b"HSET", b"h", b"f"),
    "commands of wrong arity within MULTI": IN_SYNC + command(b"MULTI") + command(b"SET", b"k") + command(b"EXEC"),
    "the beginning of a transaction in lines": IN_SYNC + b"MULTI\r\nSET a b\r\n",
    "offsets that no string has": IN_SYNC
    + command(b"SETRANGE", b"k", b"9223372036854775807", b"x")
    + command(b"SETBIT", b"k", b"9223372036854775807", b"1")
    + command(b"BITFIELD", b"k", b"SET", b"u8", b"9223372036854775807", b"1"),
    "no such command": IN_SYNC + command(b"\xff\xfe", b"\xff") + command(b""),
    "an offset to acknowledge": IN_SYNC + command(b"REPLCONF", b"GETACK", BIG) + command(b"REPLCONF", b"ACK", BIG),
    "an argument without end": IN_SYNC + b"*1\r\n$" + BIG + b"\r\n",
    "more arguments than there are": IN_SYNC + b"*" + BIG + b"\r\n",
    "no protocol at all": IN_SYNC + b"\xff\x00\xfe'\"\r\n\r\n\n",
    "a history of 40 signs that goes on": b"+CONTINUE %b\r\n" % (b"\xff" * 40) + command(b"PING"),
}


def test_false_primary_costs_the_link_only(tmp_path: Path) -> None:
    with FalsePrimary() as primary, start_node(tmp_path / "replica") as replica:
        replica.call("SET", "before", "1")
        replica.call("REPLICAOF", "127.0.0.1", primary.port)
        for what, answer in ANSWERS.items():
            sock = primary.meet()
            with sock, contextlib.suppress(ConnectionError):  # it may hang up before it has read all
                sock.sendall(answer)
                sock.shutdown(1)
                while sock.recv(65536):
                    pass
            assert replica.process.poll() is None, f"{what} ended the process"
            assert replica.call("PING") == b"PONG", what
            assert b"master_replid:" in replica.call("INFO", "replication")
        primary.meet().close()
        replica.call("REPLICAOF", "NO", "ONE")
        wait_until(lambda: replica.call("SET", "after", "1") == b"OK", 5, "it takes writes again")
        text = replica.log_path.read_text()
        assert "Traceback" not in text
        assert "bug of this server" not in text
