"""Which nodes may serve, and which client is given which backend: pure."""
