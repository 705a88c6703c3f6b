"""A long run under steady load, with reloads and faults: memory and descriptors stay flat.

python -m tests.soak --minutes 60 [--docs docs/soak.md]
"""
