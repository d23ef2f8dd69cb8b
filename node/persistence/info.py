"""The `persistence` section of INFO."""

from __future__ import annotations

import time

from slotmesh.node.base.gates import SERVER_ASYNC_LOADING
from slotmesh.node.persistence import aof as states
from slotmesh.node.persistence.aof import Aof
from slotmesh.node.persistence.child import Child
from slotmesh.node.persistence.rewriter import AofRewriter
from slotmesh.node.persistence.saver import RdbSaver
from slotmesh.node.persistence.startup import Loader
from slotmesh.node.state import NodeState

Fields = dict[str, object]


def persistence_fields(
    state: NodeState, child: Child | None, aof: Aof, saver: RdbSaver, rewriter: AofRewriter, loader: Loader
) -> Fields:
    """Field -> value in stock's order."""
    saving = child is not None and child.kind == "rdb"
    rewriting = child is not None and child.kind == "aof"
    running_s = int(time.monotonic() - child.started_s) if child is not None else -1
    total_keys = state.keyspace.total_keys()
    loads_aside = bool(state.gates & SERVER_ASYNC_LOADING)
    keys_done = child.keys_done if child is not None else 0
    fields: Fields = {
        "loading": int(loader.progress is not None and not loads_aside),
        "async_loading": int(loads_aside),
        "current_cow_peak": child.cow_peak if child is not None else 0,
        "current_cow_size": child.cow_bytes if child is not None else 0,
        "current_cow_size_age": max(running_s, 0),
        "current_fork_perc": f"{100 * keys_done / total_keys if total_keys and child is not None else 0:.2f}",
        "current_save_keys_processed": keys_done,
        "current_save_keys_total": total_keys if child is not None else 0,
        "rdb_changes_since_last_save": state.keyspace.dirty,
        "rdb_bgsave_in_progress": int(saving),
        "rdb_last_save_time": saver.last_save_s,
        "rdb_last_bgsave_status": "err" if saver.failed else "ok",
        "rdb_last_bgsave_time_sec": saver.last_seconds,
        "rdb_current_bgsave_time_sec": running_s if saving else -1,
        "rdb_saves": saver.saves,
        "rdb_last_cow_size": saver.cow_bytes,
        "rdb_last_load_keys_expired": loader.keys_expired,
        "rdb_last_load_keys_loaded": loader.keys_loaded,
        "aof_enabled": int(aof.state != states.OFF),
        "aof_rewrite_in_progress": int(rewriting),
        "aof_rewrite_scheduled": int(rewriter.scheduled),
        "aof_last_rewrite_time_sec": rewriter.last_seconds,
        "aof_current_rewrite_time_sec": running_s if rewriting else -1,
        "aof_last_bgrewrite_status": "err" if rewriter.failed else "ok",
        "aof_rewrites": rewriter.rewrites,
        "aof_rewrites_consecutive_failures": rewriter.pacing.failures,
        "aof_last_write_status": "err" if aof.write_error or aof.sync_error else "ok",
        "aof_last_cow_size": rewriter.cow_bytes,
        "module_fork_in_progress": 0,
        "module_fork_last_cow_size": 0,
    }
    if aof.state != states.OFF:
        fields |= {
            "aof_current_size": aof.size,
            "aof_base_size": aof.size_after_rewrite,
            "aof_pending_rewrite": int(rewriter.scheduled),
            "aof_buffer_length": aof.buffered_bytes,
            "aof_pending_bio_fsync": int(aof.sync_running),
            "aof_delayed_fsync": aof.delayed_syncs,
        }
    return fields | _loading_fields(loader)


def _loading_fields(loader: Loader) -> Fields:
    progress = loader.progress
    if progress is None:
        return {}
    elapsed = max(time.time() - progress.started_s, 0.001)
    total, done = progress.total_bytes, progress.loaded_bytes
    eta = int((total - done) / (done / elapsed)) if done else 1
    return {
        "loading_start_time": int(progress.started_s),
        "loading_total_bytes": total,
        "loading_rdb_used_mem": 0,
        "loading_loaded_bytes": done,
        "loading_loaded_perc": f"{100 * done / total if total else 0:.2f}",
        "loading_eta_seconds": max(eta, 0),
    }
