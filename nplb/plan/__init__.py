"""Settings, snapshots and verdicts in, a plan out.

Law: pure functions. The same input gives the same plan, in sorted order, whatever the order
in which things became known. Objects of the plan before are used again where nothing
changed, so that what compares plans can compare identities first.
"""
