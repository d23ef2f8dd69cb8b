"""`slotmesh-sentinel sentinel.conf [--option value ...]`: start one sentinel, as stock's redis-sentinel is started."""

from __future__ import annotations

import gc


def main() -> None:
    """Entry point of the sentinel."""
    # What is imported stays: looking for garbage in it meanwhile would be a waste.
    gc.disable()
    from slotmesh.sentinel.program import main as run

    run()


if __name__ == "__main__":
    main()
