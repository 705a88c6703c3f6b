"""What is probed, and what the answers mean.

Law: a probe that could not be made, or that the edge itself was too late to judge, says
nothing about a backend. Probing never writes a byte to a backend, and leaves no trace in an
application's log.

target      an address and how to probe it; the plan names them
probe       one connect to one target; ends with a `Cause`
observation a probe's end, or what live traffic met; passes or fails
verdict     what the observations in a row amount to, by the table in `health.table`

table       hysteresis as a table; pure
causes      what an error number says, and of whom; pure
latencies   how long successful probes took, in buckets
prober      makes the probes, on time, and keeps the verdicts
"""
