"""The twin of the NodePort allocator of kube-apiserver: pure.

Law: what the API server would do, word for word, and nothing else. No I/O, no clock, no dice:
`now` and `rng` are arguments. Where Kubernetes says a thing, the text here is its text, and the
docstring names the file that says it (paths are those of kubernetes/kubernetes 1.36).

the allocator
portrange   `--service-node-port-range`, its parser and its two bands
bitmap      one bit for each number, and how the next one is drawn
allocator   numbers in a range: allocate, draw, release, snapshot, restore
operation   a transaction: allocate at once, defer releases, undo unless committed
services    create, update and delete of a Service, as the API server does them
errors      what the allocator says, and what the API server makes of it
storage     a range that several API servers share, read, changed and written
repair      the loop that rebuilds the range, says what is wrong, and frees what leaked

the twin
ledger      a live cluster's numbers with their holders, kept up from snapshots
findings    what an operator should know of a ledger
forecast    how fast numbers are taken, and when none will be left
scratch     an allocator to try things on: it knows the set of a draw, not the number
predict     what the API server would answer to Services that have not been sent
answers     what is answered to a whole manifest
outcome     how each port of a Service came by its number

the edge
edge        who gets which address and port of the edge, by a stated rule
host        what the host's own listeners and ephemeral ports mean for the edge
"""
