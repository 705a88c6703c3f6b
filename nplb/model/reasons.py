"""Closed sets of words: the same in log, metric label, API, dashboard and terminal."""

from enum import StrEnum


class BackendState(StrEnum):
    """What a backend may be used for."""

    ACTIVE = "active"  # gets new connections
    DRAINING = "draining"  # keeps old connections, gets no new one
    DOWN = "down"  # gets none


class BackendReason(StrEnum):
    """Why a backend is in its state. Every backend carries one."""

    # active
    PASSING = "passing"  # probes succeed
    UNPROBED = "unprobed"  # trusted before its first probe (health.initial: up)
    PROBES_OFF = "probes_off"  # probing is turned off for it
    FAIL_OPEN = "fail_open"  # too few backends pass, so all are tried
    KEPT = "kept"  # the API says that it should leave, but too many would at once
    # draining
    NODE_DELETING = "node_deleting"  # the Node has a deletion timestamp
    NODE_GONE = "node_gone"  # the Node was deleted; its connections live on
    AUTOSCALER_TAINT = "autoscaler_taint"  # ToBeDeletedByClusterAutoscaler
    EXCLUDE_LABEL = "exclude_label"  # node.kubernetes.io/exclude-from-external-load-balancers
    NODE_NOT_SELECTED = "node_not_selected"  # the configured node selector leaves it out
    MANUAL_DRAIN = "manual_drain"  # `nplb drain`
    LOCAL_TERMINATING = "local_terminating"  # only terminating endpoints left on the node
    NO_ADDRESS = "no_address"  # no address of a wanted type and family
    HEALTH_CHECK_PORT = "health_check_port"  # its health check node port answers 503
    KUBE_PROXY_UNWELL = "kube_proxy_unwell"  # kube-proxy's /healthz fails, and is required
    ADDRESS_CHANGED = "address_changed"  # the node answers at another address now
    # down
    NO_LOCAL_ENDPOINT = "no_local_endpoint"  # externalTrafficPolicy Local and no pod here
    PROBING = "probing"  # its first probe has not ended yet
    REFUSED = "refused"  # a connect was refused
    TIMEOUT = "timeout"  # nothing answered in time
    UNREACHABLE = "unreachable"  # no route, or the network said so
    RESET = "reset"  # the probe's connection was reset
    PROBE_FAILED = "probe_failed"  # connected, but the answer was not the expected one
    SERVICE_EMPTY = "service_empty"  # refused everywhere: the Service has no endpoint
    NODE_SILENT = "node_silent"  # no service of the node answers: the node, or its network
    KUBE_PROXY_DOWN = "kube_proxy_down"  # every service of the node refuses
    LOCAL_SILENT = "local_silent"  # only this Local service is silent: no pod of it is there


class FrontendState(StrEnum):
    """How a frontend stands on the edge."""

    SERVING = "serving"  # listens, and at least one backend is active
    NO_BACKEND = "no_backend"  # listens, but no backend is active
    CONFLICT = "conflict"  # the edge's port is held by someone else
    FAILED = "failed"  # the system refused the listener
    PENDING = "pending"  # planned, not applied yet


class SkipReason(StrEnum):
    """Why a Service's port has no frontend at all."""

    NO_NODE_PORT = "no_node_port"  # LoadBalancer with allocateLoadBalancerNodePorts: false
    PROTOCOL = "protocol"  # not TCP, which is what the relay carries
    EDGE_PORT_TAKEN = "edge_port_taken"  # another service's frontend has that address and port
    OTHER_CLASS = "other_class"  # loadBalancerClass is not ours
    UNCLASSED = "unclassed"  # a LoadBalancer without a class, which are another's to serve
    SERVICE_DELETING = "service_deleting"  # the Service has a deletion timestamp
    SOURCE_RANGES = "source_ranges"  # loadBalancerSourceRanges can't be read
    NAMESPACE_LIMIT = "namespace_limit"  # its namespace has as many frontends as it may have


class EndReason(StrEnum):
    """Why a connection ended. Every accepted connection ends with exactly one.

    The order is the order of counters in shared memory: append only.
    """

    CLIENT_CLOSED = "client_closed"  # the client ended first, all bytes delivered
    BACKEND_CLOSED = "backend_closed"  # the backend ended first, all bytes delivered
    CLIENT_RESET = "client_reset"
    BACKEND_RESET = "backend_reset"
    CLIENT_GONE = "client_gone"  # the client left before a backend answered
    CONNECT_REFUSED = "connect_refused"  # every backend tried refused
    CONNECT_TIMEOUT = "connect_timeout"  # no backend answered within the deadline
    CONNECT_UNREACHABLE = "connect_unreachable"
    NO_BACKEND = "no_backend"  # nobody to send it to
    IDLE_TIMEOUT = "idle_timeout"
    HALF_CLOSED_TIMEOUT = "half_closed_timeout"
    LIFETIME = "lifetime"  # the total deadline
    DRAIN_DEADLINE = "drain_deadline"  # its backend drained, and the deadline passed
    BACKEND_DOWN = "backend_down"  # its backend went down, and policy is to reset
    FRONTEND_GONE = "frontend_gone"  # its service left the plan, and policy is to close
    SHUTDOWN = "shutdown"  # nplb stopped
    LIMIT_FRONTEND = "limit_frontend"
    LIMIT_BACKEND = "limit_backend"
    LIMIT_CLIENT = "limit_client"
    LIMIT_CLIENT_RATE = "limit_client_rate"
    LIMIT_TOTAL = "limit_total"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    SOURCE_DENIED = "source_denied"  # source ranges do not admit this client
    PROXY_HEADER = "proxy_header"  # a malformed or missing PROXY header
    NO_DESCRIPTORS = "no_descriptors"  # out of file descriptors or ports for the backend side
    INTERNAL = "internal"  # a fault of nplb's own
    CLIENT_LOST = "client_lost"  # the client's host stopped answering (keepalive, unsent data)
    BACKEND_LOST = "backend_lost"  # the node stopped answering (keepalive, unacknowledged data)
    NO_MEMORY = "no_memory"  # the edge had no memory for what it needed


class FastPathEvent(StrEnum):
    """Why the kernel plane's fast path left a packet to the table, or dropped it.

    The order is the order of counters in its program (fastpath.bpf.c): append only.
    """

    NO_ROOM = "no_room"  # the flow table is full: the table has the connection
    NO_PORT = "no_port"  # no source port was free toward the node: the table has it too
    NO_SEAT = "no_seat"  # the edge has no route to the node that was drawn: the table has it too
    NO_ROUTE = "no_route"  # the next hop is gone: dropped, or left to the table if it is the first
    EXPIRED = "expired"  # the packet's hop count is at its end: the same


class Cause(StrEnum):
    """What one probe saw."""

    CONNECTED = "connected"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    RESET = "reset"
    UNEXPECTED_ANSWER = "unexpected_answer"
    LOCAL_ERROR = "local_error"  # the edge itself could not probe (descriptors, ports)


class Balance(StrEnum):
    """How a frontend spreads its clients."""

    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"
    RANDOM = "random"
    RANDOM_TWO_CHOICES = "random_two_choices"
    SOURCE_HASH = "source_hash"
    MAGLEV = "maglev"
    FIRST = "first"
