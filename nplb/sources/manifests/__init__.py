"""A cluster read from YAML files on disk, reread when their content changes."""
