"""The lab in network namespaces: machines with addresses of their own, and the kernel forwards.

Law: everything that is made carries the process that made it in its name (`nplb-lab-PID-…`), and
goes when the lab stops. What a lab left that died is removed by the next one that starts. The
namespace in which the lab is started (the edge's) gets two links and nothing else: no rule, no
route but theirs, no sysctl.

    client ── edge ── switch ┬── node-1 ── pods
       └────── detour ───────┼── node-2 ── pods
                             └── …

namespace   one network namespace: made, entered, removed
requires    what the host must have
interface   an interface whose sockets are in a namespace
proxyrules  what kube-proxy writes: from rules to a table, pure
proxytable  keeps a machine's table as the rules say
faultrules  what faults write: silence, refusal, loss, partition
delayline   holds up what passes a machine's cable
machine     one machine and its pods
site        the client, the edge's links and the switch: `NetnsFabric`
"""
