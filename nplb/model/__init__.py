"""The words of nplb as frozen types: floor 0, imports nothing of nplb.

Law: values only. No I/O, no clock, no randomness, no behaviour beyond what a value says of
itself. Every type here is immutable, compares by value and can be shown to an operator.

keys       who is who: services, frontends, backends
cluster    what a source publishes: services, nodes, endpoint slices, as one snapshot
reasons    closed sets of words that are the same in log, metric, API, dashboard and terminal
settings   what the configuration means, with every default resolved
health     how nodes are probed, and what becomes of a Service when many fail at once
verdict    what probing says, and what to probe
drain      a node taken out by hand
plan       what should be served
annotations  what the annotations of Services ask for; refusal, what of it is not honoured
prefixes   a file's list of address prefixes
relay      how a frontend treats its connections
kernel     which plane serves a frontend, and what only the kernel plane can be told
outbound   what nplb writes into a cluster
applied    what a plane made of a plan, and its counters
decision   what was decided, when and why: an entry of the journal
status     everything above at one moment, for web, metrics and commands
finding    something an operator should know, with what to do about it
ledger     who holds which NodePort, ready to be shown
difference  what two tuples of values do not share
secrets    what must not be shown in any text
errors     one root exception, three families by blame
"""
