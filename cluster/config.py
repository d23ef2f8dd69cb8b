"""The settings that the cluster core obeys; one frozen record, replaced as a whole when a setting changes.

Names follow the ``cluster-*`` directives of ``redis.conf``; units come last. ``ClusterCore.set_config`` takes a new
record at any time (CONFIG SET). Parsing and validating text is the business of the node's config module.
"""

from __future__ import annotations

from attrs import frozen


@frozen
class ClusterConfig:
    """How this node behaves in the cluster, and how it presents itself."""

    port: int
    """The port clients are served on (the TLS one when ``tls_cluster``)."""

    cport: int
    """The port of the cluster bus; by convention ``port`` + 10000."""

    pport: int = 0
    """The second client port: plaintext when ``port`` is TLS, TLS when it is not; 0 for none."""

    tls_cluster: bool = False
    """Links of the bus use TLS; decides which of the two client ports is the main one."""

    node_timeout_ms: int = 15_000
    """Silence after which a node is suspected. Lower finds failures sooner and mistakes pauses for them more often; the
    bus traffic grows as 1/timeout. Every other delay of the protocol is a multiple of it."""

    ping_interval_ms: int = 0
    """Every member is pinged when its last answer is so old (``cluster-ping-interval`` of Valkey); 0: half the node
    timeout. Lower finds failures a little sooner, at the cost of traffic."""

    require_full_coverage: bool = True
    """Refuse all keys while any slot has no working owner (else: only the keys of such slots)."""

    replica_validity_factor: int = 10
    """A replica whose link to the primary was down longer than this many node timeouts stands for no election; 0 means
    it always does, at the risk of promoting old data."""

    repl_ping_period_ms: int = 10_000
    """How often a primary pings its replicas; slack in the age that ``replica_validity_factor`` allows."""

    replica_no_failover: bool = False
    """This replica never stands for election by itself."""

    migration_barrier: int = 1
    """Working replicas a primary must keep when one of its replicas moves to an orphaned primary."""

    allow_replica_migration: bool = True
    """Replicas may move to orphaned primaries, and a primary that lost its last slot becomes a replica."""

    announce_ip: str = ""
    """Address told to the others; empty: they use the one they see."""

    announce_port: int = 0
    """Client port told to the others; 0: ``port``."""

    announce_cport: int = 0
    """Bus port told to the others; 0: ``cport``."""

    announce_pport: int = 0
    """Second client port told to the others; 0: ``pport``."""

    announce_hostname: str = ""
    """Hostname told to the others and, by ``cluster-preferred-endpoint-type``, to clients."""

    announce_human_nodename: str = ""
    """A name for log lines, told to nodes that know this extension."""

    @property
    def told_port(self) -> int:
        """The client port others are to use."""
        return self.announce_port or self.port

    @property
    def told_cport(self) -> int:
        """The bus port others are to use."""
        return self.announce_cport or self.cport

    @property
    def told_pport(self) -> int:
        """The second client port others are to use, 0 for none."""
        return self.announce_pport or self.pport
