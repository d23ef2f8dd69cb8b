"""What AOF and replicas are fed: units are indivisible, and no wider than they must be."""

from __future__ import annotations

from slotmesh.node.keyspace.propagation import NO_DATABASE, Propagation

SET_A, SET_B, PUBLISH = [b"SET", b"a", b"1"], [b"SET", b"b", b"2"], [b"PUBLISH", b"c", b"m"]
MULTI, EXEC = [b"MULTI"], [b"EXEC"]


class Feed:
    """Remembers what it is fed."""

    def __init__(self) -> None:
        self.fed: list[tuple[int, list[bytes]]] = []

    def feed(self, db_index: int, argv: list[bytes]) -> None:
        self.fed.append((db_index, argv))


def propagation() -> tuple[Propagation, Feed, Feed]:
    """(the subject, the log's feed, the replicas' feed)."""
    made, log, replicas = Propagation(), Feed(), Feed()
    made.feeds += [log.feed, replicas.feed]
    made.replica_feed = replicas.feed
    return made, log, replicas


def test_command_outside_a_unit_goes_out_at_once() -> None:
    made, log, replicas = propagation()
    made.feed(0, SET_A)
    assert log.fed == replicas.fed == [(0, SET_A)]


def test_unit_of_one_command_needs_no_multi() -> None:
    made, log, _ = propagation()
    made.begin_batch()
    made.feed(3, SET_A)
    assert log.fed == []
    made.end_batch()
    assert log.fed == [(3, SET_A)]


def test_unit_of_several_commands_is_wrapped_and_exec_selects_no_database() -> None:
    made, log, _ = propagation()
    made.begin_batch()
    made.feed(1, SET_A)
    made.feed(2, SET_B)
    made.end_batch()
    assert log.fed == [(1, MULTI), (1, SET_A), (2, SET_B), (NO_DATABASE, EXEC)]


def test_units_nest_and_the_outermost_counts() -> None:
    made, log, _ = propagation()
    made.begin_batch()
    made.feed(0, SET_A)
    made.begin_batch()
    made.feed(0, SET_B)
    made.end_batch()
    assert log.fed == []
    made.end_batch()
    assert [argv for _, argv in log.fed] == [MULTI, SET_A, SET_B, EXEC]


def test_empty_unit_says_nothing() -> None:
    made, log, _ = propagation()
    made.begin_batch()
    made.end_batch()
    assert log.fed == []


def test_message_goes_to_replicas_alone_and_does_not_widen_the_unit_of_the_log() -> None:
    made, log, replicas = propagation()
    made.to_replicas(0, PUBLISH)
    made.begin_batch()
    made.feed(0, SET_A)
    made.to_replicas(0, PUBLISH)
    made.end_batch()
    assert [argv for _, argv in log.fed] == [SET_A]
    assert [argv for _, argv in replicas.fed] == [PUBLISH, MULTI, SET_A, PUBLISH, EXEC]


def test_message_without_replicas_is_dropped() -> None:
    made = Propagation()
    made.to_replicas(0, PUBLISH)
    made.begin_batch()
    made.to_replicas(0, PUBLISH)
    made.end_batch()
