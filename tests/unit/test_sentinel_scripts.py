from __future__ import annotations

from slotmesh.sentinel.scripts import MAX_QUEUED, MAX_RUNNING, MAX_TRIES, ScriptQueue

RETRY_MS, RUNTIME_MS = 30_000, 60_000


def test_script_that_succeeds_is_forgotten() -> None:
    queue = ScriptQueue()
    queue.schedule(("/x", "a"))
    (job,) = queue.startable(0)
    assert queue.startable(0) == []
    queue.started(job.job_id, 77)
    assert job.pid == 77
    assert queue.ended(job.job_id, 0, 0, 10, RETRY_MS) is None
    assert queue.jobs == []


def test_script_that_fails_for_good_is_reported() -> None:
    queue = ScriptQueue()
    queue.schedule(("/x",))
    (job,) = queue.startable(0)
    assert queue.ended(job.job_id, 2, 0, 10, RETRY_MS) is job
    assert queue.jobs == []


def test_script_that_asks_for_a_retry_runs_again_later_and_later_and_is_then_given_up() -> None:
    queue = ScriptQueue()
    queue.schedule(("/x",))
    now_ms = 1_000
    for tries in range(1, MAX_TRIES + 1):
        (job,) = queue.startable(now_ms)
        assert job.tries == tries
        failed = queue.ended(job.job_id, 1, 0, now_ms, RETRY_MS)
        if tries == MAX_TRIES:
            assert failed is job
            break
        delay_ms = RETRY_MS * 2 ** (tries - 1)
        assert queue.startable(now_ms + delay_ms - 1) == []
        assert queue.next_due_ms(RUNTIME_MS) == now_ms + delay_ms
        now_ms += delay_ms
    assert queue.jobs == []


def test_script_ended_by_a_signal_runs_again() -> None:
    queue = ScriptQueue()
    queue.schedule(("/x",))
    (job,) = queue.startable(0)
    assert queue.ended(job.job_id, 0, 9, 0, RETRY_MS) is None
    assert queue.jobs == [job]


def test_script_that_runs_too_long_is_killed_once() -> None:
    queue = ScriptQueue()
    queue.schedule(("/x",))
    (job,) = queue.startable(5)
    assert queue.overdue(5 + RUNTIME_MS, RUNTIME_MS) == []
    assert queue.next_due_ms(RUNTIME_MS) == 5 + RUNTIME_MS + 1
    assert queue.overdue(6 + RUNTIME_MS, RUNTIME_MS) == [job]
    assert queue.overdue(7 + RUNTIME_MS, RUNTIME_MS) == []


def test_only_so_many_scripts_run_and_wait_and_the_oldest_waiting_one_gives_way() -> None:
    queue = ScriptQueue()
    for number in range(MAX_QUEUED):
        queue.schedule(("/x", str(number)))
    running = queue.startable(0)
    assert len(running) == MAX_RUNNING
    queue.schedule(("/x", "new"))
    assert len(queue.jobs) == MAX_QUEUED
    assert all(job in queue.jobs for job in running)
    assert ("/x", str(MAX_RUNNING)) not in [job.argv for job in queue.jobs]


def test_end_of_an_unknown_script_is_ignored() -> None:
    assert ScriptQueue().ended(5, 0, 0, 0, RETRY_MS) is None
