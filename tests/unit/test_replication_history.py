"""When a replica may resume."""

from __future__ import annotations

from slotmesh.node.replication.backlog import Backlog
from slotmesh.node.replication.history import NO_ID, History

OLD, NEW, OTHER = (letter * 40 for letter in (b"a", b"b", b"c"))


def filled_backlog(first: int, size: int) -> Backlog:
    backlog = Backlog(1000, first)
    backlog.append(b"x" * size)
    return backlog


def test_resume_of_same_history_within_backlog_is_allowed() -> None:
    history, backlog = History(OLD), filled_backlog(101, 50)
    for offset in (101, 130, 151):
        assert history.why_not_resume(OLD, offset, backlog) is None
    assert history.why_not_resume(OLD.upper(), 130, backlog) is None


def test_resume_outside_the_backlog_is_refused() -> None:
    history, backlog = History(OLD), filled_backlog(101, 50)
    for offset in (-1, 0, 100, 152):
        assert "lack of backlog" in str(history.why_not_resume(OLD, offset, backlog))


def test_resume_without_backlog_is_refused() -> None:
    assert History(OLD).why_not_resume(OLD, 1, None) == "there is no backlog"


def test_resume_of_another_history_is_refused() -> None:
    assert "mismatch" in str(History(OLD).why_not_resume(OTHER, 120, filled_backlog(101, 50)))


def test_resume_with_question_mark_asks_for_a_full_sync() -> None:
    assert "asked for a full resync" in str(History(OLD).why_not_resume(b"?", -1, filled_backlog(1, 5)))


def test_resume_after_promotion_is_allowed_up_to_the_branch_only() -> None:
    history, backlog = History(OLD), filled_backlog(101, 50)
    history.branch(NEW, 120)
    assert (history.replid, history.replid2, history.second_offset) == (NEW, OLD, 121)
    assert history.why_not_resume(OLD, 121, backlog) is None
    assert history.why_not_resume(NEW, 150, backlog) is None
    assert "second ID" in str(history.why_not_resume(OLD, 122, backlog))


def test_restart_of_history_forgets_the_second_name() -> None:
    history = History(OLD)
    history.branch(NEW, 120)
    history.restart(OTHER)
    assert (history.replid, history.replid2, history.second_offset) == (OTHER, NO_ID, -1)


def test_resume_by_the_empty_second_name_is_refused() -> None:
    assert "second ID" in str(History(OLD).why_not_resume(NO_ID, 5, filled_backlog(1, 10)))
