"""Notification and client-reconfiguration scripts: a bounded queue with retries.

Rules of stock: at most 16 run at once and 256 wait (the oldest waiting one is dropped for a new one); a script that
exits with 1 or is ended by a signal runs again, up to 10 times, after 30 s, 60 s, 120 s...; any other failure is
reported and forgotten; one that runs for longer than a minute is killed.

Pure: the driver forks and reaps, and reports by `started` and `ended`.
"""

from __future__ import annotations

from attrs import Factory, define

MAX_QUEUED = 256
MAX_RUNNING = 16
MAX_TRIES = 10
RETRY_EXIT_CODE = 1


@define(eq=False)
class Job:
    """One script to run. `start_ms`: when it started, or not to be started before (0: at once)."""

    job_id: int
    argv: tuple[str, ...]
    running: bool = False
    pid: int = 0
    start_ms: int = 0
    tries: int = 0
    killed: bool = False


@define(eq=False)
class ScriptQueue:
    """All jobs, oldest first."""

    jobs: list[Job] = Factory(list)
    last_id: int = 0

    @property
    def running(self) -> int:
        return sum(job.running for job in self.jobs)

    def schedule(self, argv: tuple[str, ...]) -> None:
        """Queue a script; `argv[0]` is its path."""
        self.last_id += 1
        self.jobs.append(Job(self.last_id, argv))
        if len(self.jobs) > MAX_QUEUED:
            self.jobs.remove(next(job for job in self.jobs if not job.running))

    def startable(self, now_ms: int) -> list[Job]:
        """Jobs to start now; they count as running from here on."""
        room = MAX_RUNNING - self.running
        ready = [job for job in self.jobs if not job.running and job.start_ms <= now_ms][: max(room, 0)]
        for job in ready:
            job.running, job.start_ms, job.killed = True, now_ms, False
            job.tries += 1
        return ready

    def overdue(self, now_ms: int, max_runtime_ms: int) -> list[Job]:
        """Running jobs to kill now; each is returned once."""
        late = [j for j in self.jobs if j.running and not j.killed and now_ms - j.start_ms > max_runtime_ms]
        for job in late:
            job.killed = True
        return late

    def started(self, job_id: int, pid: int) -> None:
        for job in self.jobs:
            if job.job_id == job_id:
                job.pid = pid

    def ended(self, job_id: int, exit_code: int, signal: int, now_ms: int, retry_delay_ms: int) -> Job | None:
        """A job is over. Returns it when it failed for good and is to be reported."""
        job = next((job for job in self.jobs if job.job_id == job_id), None)
        if job is None:
            return None
        job.running, job.pid = False, 0
        if (signal or exit_code == RETRY_EXIT_CODE) and job.tries < MAX_TRIES:
            job.start_ms = now_ms + retry_delay_ms * 2 ** (job.tries - 1)
            return None
        self.jobs.remove(job)
        return job if signal or exit_code else None

    def next_due_ms(self, max_runtime_ms: int) -> int | None:
        """When a waiting job may start or a running one is overdue; None when nothing is queued."""
        room = self.running < MAX_RUNNING
        waiting = [job.start_ms for job in self.jobs if not job.running] if room else []
        overdue = [job.start_ms + max_runtime_ms + 1 for job in self.jobs if job.running and not job.killed]
        return min(waiting + overdue, default=None)
