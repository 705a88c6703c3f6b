"""The words of nplb as frozen types: floor 0, imports nothing of nplb.

Law: values only. No I/O, no clock, no randomness, no behaviour beyond what a value says of
itself. Every type here is immutable, compares by value and can be shown to an operator.

keys       who is who: services, frontends, backends
cluster    what a source publishes: services, nodes, endpoint slices, as one snapshot
reasons    closed sets of words that are the same in log, metric, API, dashboard and terminal
settings   what the configuration means, with every default resolved
verdict    what probing says
plan       what should be served
annotations what the annotations of Services ask for, and what of it is refused
prefixes   a file's list of address prefixes
relay      how a frontend treats its connections
kernel     which plane serves a frontend, and what only the kernel plane can be told
outbound   what nplb writes into a cluster
applied    what a plane made of a plan, and its counters
finding    something an operator should know, with what to do about it
ledger     who holds which NodePort, ready to be shown
secrets    what must not be shown in any text
errors     one root exception, three families by blame
"""
