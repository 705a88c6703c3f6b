"""The twin of the NodePort allocator of kube-apiserver: pure.

Law: what the API server would do, word for word, and nothing else. No I/O, no clock, no dice:
`now` and `rng` are arguments. Where Kubernetes says a thing, the text here is its text, and the
docstring names the file that says it (paths are those of kubernetes/kubernetes 1.36).

portrange   `--service-node-port-range`, its parser and its two bands
bitmap      one bit for each number, and how the next one is drawn
allocator   numbers in a range: allocate, draw, release, snapshot, restore
operation   a transaction: allocate at once, defer releases, undo unless committed
services    create, update and delete of a Service, as the API server does them
errors      what the allocator says, and what the API server makes of it
"""
