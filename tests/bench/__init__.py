"""Benchmarks: they print, a person judges. Not part of the tests."""
