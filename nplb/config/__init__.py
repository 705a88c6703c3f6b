"""YAML to settings: reads, checks everything at once, and says what to do."""
