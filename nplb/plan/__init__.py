"""Settings, snapshots and verdicts in, a plan out.

Law: pure functions. The same input gives the same plan, in sorted order, whatever the order
in which things became known. Objects of the plan before are used again where nothing
changed, so that what compares plans can compare identities first. What the API says alone
never empties a Service (`leaving`); what probes say of most of its nodes may (`panic`).

make          the whole: `make_plan`; memo, what it knows of the pass before
candidates    which ports want a frontend, and where; overrides, pools, quota, ports
view          a cluster as every Service of it needs it; spread, how much of it one uses
frontend      one frontend and its backends; judge, leaving, panic: what becomes of each
probes        what is to be probed, how often, and how soon that finds a fault; load, their sums
outbound      what is to be written into a cluster; notices, the Events
interfaces    addresses in place of `%eth0`
diff          what changed, for the journal
"""
