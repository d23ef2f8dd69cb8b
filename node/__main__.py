"""`slotmesh-node [redis.conf] [--option value ...]`: start one node, with the arguments of the stock server."""

from __future__ import annotations

import gc


def main() -> None:
    """Entry point of the node."""
    # What is imported stays: looking for garbage in it meanwhile would be a waste.
    gc.disable()
    from slotmesh.node.program import main as run

    run()


if __name__ == "__main__":
    main()
