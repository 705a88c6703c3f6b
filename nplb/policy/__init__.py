"""Which nodes may serve, and how a client is given a backend.

Law: pure, and every answer carries its reason. The API states intent here; whether a
backend works is for probes to prove, and is not asked on this floor.
"""
