"""The sandbox cluster with nplb in front of it: the main job, shown on real input.

Law: the balancer here is the real one, a process of its own that reads the lab's kubeconfig,
and the clients are ordinary clients. Nothing here reaches into either; faults are the lab's.
"""
