"""Settings, snapshots, ledger and verdicts in, a plan out: pure."""
