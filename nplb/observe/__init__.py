"""Metrics, logs, and the journal of decisions."""
