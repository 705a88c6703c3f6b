"""nplb: an external load balancer for Kubernetes NodePorts.

The words used everywhere, one meaning each:

edge       the host on which nplb runs
cluster    a Kubernetes cluster; node, service and NodePort are as Kubernetes means them
source     where cluster state comes from: the Kubernetes API, or manifests on disk
snapshot   the whole state of one cluster at one moment: services, nodes, endpoint slices
ledger     who holds which NodePort: the allocator twin's book, with its findings
frontend   an address and port on the edge that clients connect to, for one port of one service
backend    one NodeIP:NodePort behind a frontend: active, draining or down, with a reason
pool       a frontend that Services of several clusters serve together
verdict    what probing says of an address, with its cause and since when
reason     why something is as it is: one word, the same wherever it is shown
plan       all frontends and their backends as they should be
plane      what moves the bytes: relay (user space) or kernel (nftables)
control    the process that reads, probes, plans and applies; workers are the relay's others
finding    something an operator should know, with what to do about it
journal    what was decided, when and why
drain      no new connections; the old ones live on until they end or a deadline passes
lab        a cluster in a process, for trying and testing
"""

__version__ = "0.1.0"
