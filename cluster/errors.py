"""Why a request of an operator, a client or a sentinel is refused, and the words for it.

The one place for the error texts of the CLUSTER command family (stock's, letter for letter). The core raises
:class:`ClusterRefusal`; the command layer turns it into ``-ERR <text>``. A refusal changes nothing.
"""

from __future__ import annotations

from enum import Enum


class Condition(Enum):
    """What is in the way; the value is the text of the error, where ``{}`` stands for the detail."""

    BAD_ADDRESS = "Invalid node address specified: {}"
    UNKNOWN_NODE = "Unknown node {}"
    UNKNOWN_SETSLOT_NODE = "I don't know about node {}"
    FORGET_MYSELF = "I tried hard but I can't forget myself..."
    FORGET_MY_PRIMARY = "Can't forget my master!"
    REPLICATE_MYSELF = "Can't replicate myself"
    REPLICATE_REPLICA = "I can only replicate a master, not a replica."
    REPLICATE_NOT_EMPTY = "To set a master the node must be empty and without assigned slots."
    NOT_A_PRIMARY = "The specified node is not a master"
    SLOT_OUT_OF_RANGE = "Invalid or out of range slot"
    SLOT_RANGE_REVERSED = "start slot number {} is greater than end slot number {}"
    SLOT_BUSY = "Slot {} is already busy"
    SLOT_UNASSIGNED = "Slot {} is already unassigned"
    SLOT_REPEATED = "Slot {} specified multiple times"
    FLUSHSLOTS_NOT_EMPTY = "DB must be empty to perform CLUSTER FLUSHSLOTS."
    SETSLOT_ON_REPLICA = "Please use SETSLOT only with masters."
    SETSLOT_NOT_OWNER = "I'm not the owner of hash slot {}"
    SETSLOT_ALREADY_OWNER = "I'm already the owner of hash slot {}"
    SETSLOT_TARGET_REPLICA = "Target node is not a master"
    SETSLOT_HOLDS_KEYS = "Can't assign hashslot {} to a different node while I still hold keys for this hash slot."
    FAILOVER_ON_PRIMARY = "You should send CLUSTER FAILOVER to a replica"
    FAILOVER_PRIMARY_UNKNOWN = "I'm a replica but my master is unknown to me"
    FAILOVER_PRIMARY_DOWN = "Master is down or failed, please use CLUSTER FAILOVER FORCE"
    EPOCH_INVALID = "Invalid config epoch specified: {}"
    EPOCH_NOT_ALONE = "The user can assign a config epoch only when the node does not know any other node."
    EPOCH_SET = "Node config epoch is already non-zero"
    RESET_NOT_EMPTY = "CLUSTER RESET can't be called with master nodes containing keys"

    # Ours; stock has no such orders.
    STALE_FENCE = "Order refused: one with the newer fence epoch {} was obeyed"
    LATE_ORDER = "Order refused: it came {} ms too late"
    BAD_GUARD = "Invalid guard name, sentinel id, lease or number of voters"
    OTHER_GUARD = "Guarded by the sentinels of {} already"


class ClusterRefusal(Exception):
    """A request that cannot be fulfilled; ``str()`` is the error text, ``condition`` what to test for."""

    def __init__(self, condition: Condition, *details: object) -> None:
        super().__init__(condition.value.format(*details))
        self.condition = condition
