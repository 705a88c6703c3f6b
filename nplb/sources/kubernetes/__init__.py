"""A cluster read from its API server: list, then watch, in short sessions."""
