"""Waiting for nodes that load their data sets, with a bar.

How far a node is stands in INFO persistence, which it answers while it loads: `loading_loaded_bytes` of
`loading_total_bytes`. There is no deadline: a node that answers is at work, and one that dies ends the wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from slotmesh.cluster.numbers import to_uint
from slotmesh.cluster.plan import Address
from slotmesh.tools.clusterctl.agreement import POLL_S, open_links
from slotmesh.tools.clusterctl.connect import Access, NodeLink, for_each, words
from slotmesh.tools.clusterctl.output import Output
from slotmesh.tools.clusterctl.view import parse_info

_MEGABYTE = 1 << 20


def wait_until_loaded(
    out: Output, addresses: Sequence[Address], access: Access, still_well: Callable[[], None] = lambda: None
) -> None:
    """Until none of the nodes loads. `still_well` is called again and again; what it raises ends the wait."""
    with open_links(addresses, access) as links:
        at_work = _loading(links)
        if not at_work:
            return
        sizes = {address: total for address, (_, total) in at_work.items()}
        with out.progress("loading data", sum(sizes.values()) // _MEGABYTE, "MB") as meter:
            while at_work:
                still_well()
                sizes |= {address: total for address, (_, total) in at_work.items()}
                done = sum(sizes.values()) - sum(total - loaded for loaded, total in at_work.values())
                meter.total = sum(sizes.values()) // _MEGABYTE
                meter.advance(done // _MEGABYTE - meter.done, f"{len(at_work)} of {len(addresses)} nodes at it")
                time.sleep(POLL_S)
                at_work = _loading(links)


def _loading(links: Sequence[NodeLink]) -> dict[Address, tuple[int, int]]:
    """(loaded, total) bytes of the nodes that load."""
    answers = for_each(links, lambda link: parse_info(words(link.call("INFO", "persistence"))))
    return {link.address: _bytes(info) for link, info in zip(links, answers, strict=True) if info.get("loading") == "1"}


def _bytes(info: Mapping[str, str]) -> tuple[int, int]:
    loaded, total = (to_uint(info.get(f"loading_{what}_bytes", "")) or 0 for what in ("loaded", "total"))
    return loaded, total
