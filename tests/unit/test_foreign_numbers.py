"""No bare `int()` or `float()` where text from outside could reach it: `cluster/numbers.py` reads such text.

Both raise for what they do not like, and `int()` takes blanks, underscores and the digits of other scripts. What cannot
be text is let through: constants, comparisons and arithmetic. All else is listed here with the reason why it is safe.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("cluster", "node", "sentinel", "tools")
READER = "cluster/numbers.py"

FLAG = "a bool of our own"
FLOAT = "a float or a time of our own"
KERNEL = "text of the kernel"
OWN_TEXT = "a figure that this program has just written"
UNPACKED = "what struct unpacked"

ALLOWED = {
    "node/memory/cgroup.py:_droppable": KERNEL,
    "node/memory/cgroup.py:_number": KERNEL,
    "node/clustering/lease.py:fields": FLAG,
    "node/commands/cluster_admin.py:cmd_guard": FLAG,
    "node/commands/cluster_admin.py:cmd_unguard": FLAG,
    "node/commands/command.py:_count_is_valid": "a position in our own table of commands",
    "node/commands/debug.py:_stringmatch_length": FLAG,
    "node/commands/geo_search.py:_item": "a score between two others that are finite",
    "node/commands/hotkeys.py:_report": FLAG,
    "node/commands/hyperloglog.py:cmd_pfdebug": FLAG,
    "node/commands/memory.py:_doctor": OWN_TEXT,
    "node/commands/memory.py:cmd_memory_stats": OWN_TEXT,
    "node/commands/stream_groups.py:cmd_xgroup_createconsumer": FLAG,
    "node/config/kinds.py:parse": "octal digits, 21 at most, that a pattern has matched",
    "node/spec/key_specs.py:legacy_range": "a position in our own table of commands",
    "node/base/log.py:format": FLOAT,
    "node/memory/used.py:_resident_and_shared": KERNEL,
    "node/memory/used.py:sample": FLOAT,
    "node/observe/info.py:human_bytes": "an int of our own",
    "node/observe/info_sections.py:cluster_fields": FLAG,
    "node/observe/info_sections.py:persistence_fields": FLAG,
    "node/process/oom_score.py:apply": KERNEL,
    "node/persistence/aof_manifest.py:_unescape": "two hexadecimal digits that a pattern has matched",
    "node/persistence/child.py:private_bytes": KERNEL,
    "node/persistence/encode.py:_set": "members of an intset, which are canonical",
    "node/persistence/encode.py:score_element": "a score in the range of an int64, as checked before",
    "node/persistence/info.py:_loading_fields": FLOAT,
    "node/persistence/info.py:persistence_fields": FLAG,
    "node/persistence/rdb_strings.py:double": UNPACKED,
    "node/persistence/rdb_strings.py:float32": UNPACKED,
    "node/persistence/rdb_strings.py:int64": UNPACKED,
    "node/persistence/rewriter.py:_done": FLOAT,
    "node/persistence/saver.py:__init__": FLOAT,
    "node/persistence/saver.py:_done": FLOAT,
    "node/persistence/saver.py:_saved": FLOAT,
    "node/persistence/saver.py:start": FLOAT,
    "node/process/process.py:set_title": KERNEL,
    "node/replication/info.py:_replica_fields": FLAG,
    "node/replication/loading.py:_by_file": FLOAT,
    "node/resp/inline.py:_quoted": "two hexadecimal digits, as checked before",
    "node/scripting/calls.py:_to_int": "a Lua number in the range of an int, as checked before",
    "node/scripting/calls.py:_to_number": "Lua's own numbers, and text in a try that takes ValueError",
    "node/scripting/conversion.py:_bool": FLAG,
    "node/scripting/conversion.py:_raw": "the double of a reply that one of our handlers has written",
    "node/scripting/conversion.py:to_int64": "a Lua number in the range of an int64, as checked before",
    "node/scripting/engine.py:__init__": "the version of our own that we equal",
    "node/scripting/engine.py:bytes_used": "a Lua number",
    "node/types/cardinality.py:estimate": "a length",
    "node/types/geohash.py:_bits": "a score of 64 bits, as checked before",
    "node/types/geohash.py:encode": "a coordinate in its range",
    "node/types/long_double.py:_to_int": "digits that a pattern has matched, cut into pieces that `int` takes",
    "node/types/set.py:listed": "members of an intset, which are canonical",
    "sentinel/commands.py:_is_down": FLAG,
    "sentinel/leases.py:renew": FLAG,
    "sentinel/present.py:_replica_rows": FLAG,
    "sentinel/present.py:info_section": FLAG,
    "tools/bench/clusters.py:_port": "our own command line",
    "tools/bench/clusters.py:main": "our own command line",
    "tools/bench/idle.py:_options": "our own command line",
    "tools/bench/idle.py:processor_s": KERNEL,
    "tools/bench/servers.py:cpu_seconds": KERNEL,
    "tools/bench/servers.py:free_port": "a port of our own socket",
    "tools/bench/workloads.py:run": "output of redis-benchmark",
    "tools/clusterctl/local.py:who_listens": KERNEL,
    "tools/compose_check.py:processor_seconds": KERNEL,
}


def bare_conversions(source: str) -> list[tuple[str, int]]:
    """(function, line) of every call of `int` or `float` on what may be text, and of every hand-over of the two."""
    found: list[tuple[str, int]] = []

    def visit(node: ast.AST, function: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                called = child.func.id if isinstance(child.func, ast.Name) else ""
                if called in ("int", "float") and child.args and not cannot_be_text(child.args[0]):
                    found.append((function, child.lineno))
                handed = [*child.args, *(keyword.value for keyword in child.keywords)]
                if called not in ("isinstance", "cast") and any(is_number_class(value) for value in handed):
                    found.append((function, child.lineno))
            inner = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
            visit(child, inner)

    visit(ast.parse(source), "")
    return found


def is_number_class(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("int", "float")


def cannot_be_text(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not) or cannot_be_text(node.operand)
    return isinstance(node, ast.Constant | ast.Compare | ast.BoolOp | ast.BinOp)


def found_in(room: str) -> dict[str, int]:
    """`file:function` -> line."""
    found = {}
    for path in sorted((ROOT / room).rglob("*.py")):
        if path == ROOT / READER:
            continue
        for function, line in bare_conversions(path.read_text()):
            found[f"{path.relative_to(ROOT)}:{function}"] = line
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_numbers_from_outside_are_read_by_one_module(room: str) -> None:
    offences = {place: line for place, line in found_in(room).items() if place not in ALLOWED}
    assert not offences, f"read them with cluster/numbers.py, or say here why they are safe: {offences}"


def test_every_exception_is_still_one() -> None:
    found = {place for room in ROOMS for place in found_in(room)}
    assert not set(ALLOWED) - found


def test_checker_sees_calls_and_hand_overs() -> None:
    source = (
        "def f(text, n: int) -> float:\n"
        "    a = int(text)\n"
        "    b = list(map(int, text))\n"
        "    c = sorted(text, key=float)\n"
        "    isinstance(text, int)\n"
        "    return int(text == 'x') + float('inf') + int(not text) + int(n * 2)\n"
    )
    assert bare_conversions(source) == [("f", 2), ("f", 3), ("f", 4)]
