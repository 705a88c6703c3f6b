"""How quick the lab's cluster is: the periods and deadlines of its controllers, in seconds."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The defaults are shorter than a real cluster's (in brackets), so that nobody waits.

    lease_renew       a kubelet renews its Lease [10]
    status_report     a kubelet writes its Node's status though nothing changed [300]
    node_grace        without a heartbeat for this long, a node's Ready is Unknown [50]
    eviction          pods of a node that is not ready are deleted after this [300]
    pod_ready         from a pod's start until it is ready
    pod_shutdown      a pod told to stop goes on serving for this long [the app's own; its
                      grace period, 30, at most]
    pod_restart       from a pod's crash until it runs again [10, doubling]
    proxy_health      rules older than this make kube-proxy's /healthz fail [60]
    """

    lease_renew: float = 2.0
    status_report: float = 60.0
    node_grace: float = 10.0
    eviction: float = 60.0
    pod_ready: float = 0.2
    pod_shutdown: float = 5.0
    pod_restart: float = 2.0
    proxy_health: float = 60.0

    @classmethod
    def quick(cls) -> Self:
        """For tests: everything happens as soon as it can."""
        return cls(
            lease_renew=0.1,
            status_report=60.0,
            node_grace=0.5,
            eviction=0.5,
            pod_ready=0.0,
            pod_shutdown=0.3,
            pod_restart=0.3,
            proxy_health=0.3,
        )
