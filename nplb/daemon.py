"""Wires the balancer together: tasks, signals, service manager notification."""
