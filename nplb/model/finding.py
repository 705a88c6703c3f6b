"""Something an operator should know, with what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class FindingKind(StrEnum):
    """What a finding is about. The word is the metric label and the journal's kind."""

    # the cluster's NodePort range
    PORT_NOT_ALLOCATED = "port_not_allocated"
    PORT_DUPLICATE = "port_duplicate"
    PORT_OUT_OF_RANGE = "port_out_of_range"
    PORT_RANGE_FULL = "port_range_full"
    PORT_LEAK = "port_leak"
    PORT_RANGE_FILLING = "port_range_filling"
    # the edge's own ports
    EDGE_PORT_CONFLICT = "edge_port_conflict"
    EDGE_PORT_IN_USE = "edge_port_in_use"
    EPHEMERAL_OVERLAP = "ephemeral_overlap"
    # what a cluster's objects ask for
    ANNOTATION_REFUSED = "annotation_refused"
    OBJECT_REFUSED = "object_refused"
    OBJECTS_PASSED_OVER = "objects_passed_over"
    # what is written into a cluster
    WRITE_REFUSED = "write_refused"
    WRITE_FAILED = "write_failed"
    # nodes and their probes
    BLAST_RADIUS = "blast_radius"
    PANIC = "panic"
    MASS_NOT_READY = "mass_not_ready"
    PROBE_BUDGET = "probe_budget"
    # what the configuration asks for
    OVERRIDE_UNUSED = "override_unused"
    # what the edge itself is short of
    NOT_WRITTEN = "not_written"
    POOL_MEMBER_MISSING = "pool_member_missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding. `subject` is what it is about (a port, a service, a frontend), `text` says
    what was found, `remedy` what to do. `since` is epoch seconds. Two findings with the same
    kind, cluster and subject are the same finding."""

    kind: FindingKind
    severity: Severity
    cluster: str
    subject: str
    text: str
    remedy: str
    since: float
