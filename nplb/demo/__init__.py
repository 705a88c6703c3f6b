"""The sandbox cluster with nplb in front of it: the main job, shown on real input.

Law: the balancer here is the real one, a process of its own that reads the lab's kubeconfig,
and the clients are ordinary clients. Nothing here reaches into either; faults are the lab's.

stage       lab, balancer and clients, in a directory of their own
balancer    `nplb run` as a process
traffic     the clients, and what they count
scenario    the script of `--check`; conditions, what it waits for
show        what a newcomer reads
"""
