"""The one reconcile loop, and the status that it keeps.

Law: data flows one way. Sources, prober and configuration set cells; the reconciler makes a
plan of the latest values and has the plane apply it; the status is everything above. Levels,
not edges: what happens during a pass costs one more pass, however often it happened. After
any failure the next pass is a whole one. What is written into clusters hangs on the end of a
pass: it waits for nothing, and nothing waits for it.

inputs       the cells: settings, snapshots, verdicts, drains
feeds        one source for each cluster
interfaces   `%eth0` as the addresses that it has now
annotations  what Services ask for, with the last good value in place of a wrong one
drains       nodes taken out by hand
reconciler   the loop; pace, how soon a pass may follow another
outbox       one writer for each cluster that is written to
books        ledgers, kept with every pass, and what they find; alarms, what a plan says
findings     which are open, and what of that goes into the journal
readiness    whether clients should be sent here
keeper       the status
"""
