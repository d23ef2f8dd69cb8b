"""The queue of recent bytes of the replication stream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slotmesh.node.replication.backlog import Backlog


def test_backlog_fresh_holds_only_the_next_byte() -> None:
    backlog = Backlog(100, 50)
    assert backlog.holds(50)
    assert not backlog.holds(49)
    assert not backlog.holds(51)
    assert backlog.since(50) == []


def test_backlog_within_size_gives_back_every_suffix() -> None:
    backlog = Backlog(100, 1)
    for chunk in (b"abc", b"d", b"efgh"):
        backlog.append(chunk)
    stream = b"abcdefgh"
    for offset in range(1, 10):
        assert backlog.holds(offset)
        assert b"".join(backlog.since(offset)) == stream[offset - 1 :]
    assert not backlog.holds(0)
    assert not backlog.holds(10)


def test_backlog_over_size_drops_whole_chunks_from_the_old_end() -> None:
    backlog = Backlog(4, 1)
    for chunk in (b"aaa", b"bbb", b"ccc"):
        backlog.append(chunk)
    assert backlog.first_offset == 4
    assert backlog.length == 6
    assert b"".join(backlog.since(4)) == b"bbbccc"
    assert not backlog.holds(3)


def test_backlog_with_a_chunk_larger_than_its_size_keeps_the_end_of_it() -> None:
    backlog = Backlog(4, 1)
    backlog.append(b"old")
    backlog.append(b"0123456789")
    assert (backlog.first_offset, backlog.length) == (10, 4)
    assert b"".join(backlog.since(11)) == b"789"


def test_backlog_resized_smaller_trims_at_once() -> None:
    backlog = Backlog(100, 1)
    for _ in range(10):
        backlog.append(b"0123456789")
    backlog.resize(20)
    assert backlog.length == 20
    assert backlog.first_offset == 81


def test_backlog_keeps_what_a_replica_holds_until_it_lets_go() -> None:
    backlog = Backlog(10, 1)
    for _ in range(10):
        backlog.append(b"0123456789", pinned=15)
    assert backlog.first_offset == 11, "the chunk with byte 15 and all behind it"
    backlog.trim(pinned=45)
    assert backlog.first_offset == 41
    backlog.trim()
    assert backlog.length == 10


@given(st.integers(1, 50), st.lists(st.binary(min_size=1, max_size=12), max_size=40))
def test_backlog_of_any_chunks_holds_the_last_bytes_of_the_stream(size: int, chunks: list[bytes]) -> None:
    backlog = Backlog(size, 1)
    stream = b""
    for chunk in chunks:
        backlog.append(chunk)
        stream += chunk
        assert backlog.next_offset == len(stream) + 1
        assert min(size, len(stream)) <= backlog.length < 2 * size + 1
        for offset in range(backlog.first_offset, backlog.next_offset + 1):
            assert b"".join(backlog.since(offset)) == stream[offset - 1 :]
