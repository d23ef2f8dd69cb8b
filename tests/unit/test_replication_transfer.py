"""Where the snapshot of a full sync starts and ends."""

from __future__ import annotations

import pytest

from slotmesh.node.replication.transfer import Transfer, TransferError

MARK = b"0123456789abcdef0123456789abcdef01234567"
RDB = b"REDIS0010 \r\n$5\r\n" + bytes(range(256)) + MARK[:39] + b"\n" + MARK[1:]


def received(chunks: list[bytes]) -> tuple[bytes, Transfer]:
    transfer = Transfer()
    parts = []
    for index, chunk in enumerate(chunks):
        parts.append(transfer.feed(chunk))
        if transfer.finished:
            transfer.rest += b"".join(chunks[index + 1 :])
            break
    return b"".join(parts), transfer


def both_forms() -> list[bytes]:
    return [b"$%d\r\n" % len(RDB) + RDB, b"$EOF:" + MARK + b"\r\n" + RDB + MARK]


@pytest.mark.parametrize("wire", both_forms(), ids=["length", "mark"])
def test_transfer_split_anywhere_gives_snapshot_and_rest(wire: bytes) -> None:
    stream = b"\n\r\n\n" + wire + b"*1\r\n$4\r\nPING\r\n"
    for cut in range(1, len(stream)):
        data, transfer = received([stream[:cut], stream[cut:]])
        assert data == RDB
        assert transfer.finished
        assert transfer.rest == b"*1\r\n$4\r\nPING\r\n"
        assert transfer.received == len(RDB)


@pytest.mark.parametrize("wire", both_forms(), ids=["length", "mark"])
def test_transfer_byte_by_byte_gives_the_snapshot(wire: bytes) -> None:
    data, transfer = received([wire[index : index + 1] for index in range(len(wire))])
    assert data == RDB
    assert transfer.finished
    assert transfer.rest == b""


def test_transfer_by_length_tells_its_size_before_the_data() -> None:
    transfer = Transfer()
    assert transfer.feed(b"$1000\r\n") == b""
    assert (transfer.started, transfer.streamed, transfer.total, transfer.finished) == (True, False, 1000, False)


def test_transfer_by_mark_has_no_size() -> None:
    transfer = Transfer()
    transfer.feed(b"$EOF:" + MARK + b"\r\n")
    assert (transfer.started, transfer.streamed, transfer.total) == (True, True, 0)


def test_transfer_of_nothing_is_finished_at_once() -> None:
    transfer = Transfer()
    assert transfer.feed(b"$0\r\nrest") == b""
    assert transfer.finished


def test_transfer_refused_by_the_primary_raises_its_words() -> None:
    with pytest.raises(TransferError, match="BGSAVE failed"):
        Transfer().feed(b"-ERR BGSAVE failed, replication can't continue\r\n")


@pytest.mark.parametrize("line", [b"+OK", b"$", b"$12x", b"$EOF:short", b"$-1", b"x" * 2000])
def test_transfer_that_is_none_raises(line: bytes) -> None:
    with pytest.raises(TransferError):
        Transfer().feed(line + b"\r\n")
