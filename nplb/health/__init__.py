"""What is probed, and what the answers mean.

Law: a probe that could not be made, or that the edge itself was too late to judge, says
nothing about a backend. A probe leaves no trace in an application's log that an ordinary client
would not leave: a bare connect is reset before the application sees it, and what speaks says
goodbye.

target       an address and how to probe it; the plan names them
probe        one connection to one target; ends with a `Cause`
observation  a probe's end, or what live traffic met; passes or fails
verdict      what the observations in a row amount to, by the table in `health.table`
stream       the probes that the services of one node share

agenda       what is to happen when; pure
table        hysteresis as a table; pure
sharing      whom a stream asks next, and when a node is down for all its services; pure
causes       what an error number says, and of whom; pure
latencies    how long successful probes took, in buckets
probes/      what probes of each kind say and expect, without any I/O
connects     connections of probes, many at once
probe        one target, with its history and verdict
verdicts     what is shown of targets, and when that is published
prober       makes the probes, on time, and keeps the verdicts
"""
