"""The kernel plane: nftables forwards, connection tracking remembers, nplb only writes rules.

Law: rendering is pure, applying is separate. There is one table of ours, `inet nplb`, and before
it, where it is asked for, an eBPF program (`fastpath`); nothing else of the edge is written, not
even a sysctl. A change is one transaction, checked before it
is applied, and holds the difference alone. Connections live in the kernel: nothing that
becomes of nplb ends one. README.md shows the packet's way.

ruleset     what a table holds, as values
names       names of chains, sets and counters
serving     which backends serve
seats       which backend sits at which place of a table
skeleton    base chains and shared maps
crowds      what most frontends of a cluster share, so that no node's change is a rule of theirs
draws       how a frontend's chain gives a backend
guards      who is turned away
render      from a plan to a ruleset
changes     the difference of two rulesets, as one transaction
readback    what the kernel really holds
nft         running nft
netlink     messages to the kernel: the ruleset's generation, connection tracking
flows       whose connections are to end now; pure
conntrack   connections: counting and ending them
sockets     who listens on the edge already
host        rights and features that the edge must have
wayback     whether answers to clients' own addresses come back
fastpath    the eBPF program before the table, and its maps
meters      counters as `Traffic`
plane       `KernelPlane`
"""
