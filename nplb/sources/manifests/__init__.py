"""Reads a cluster from YAML files: Services, Nodes and EndpointSlices.

Law: the files are one state, taken whole or not at all. Every error has file, line and column.

files    which files there are, and what stands in them
objects  what they mean, or all that is wrong with them
source   the whole: polling, port numbers, status
"""
