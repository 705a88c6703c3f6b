"""Reads a cluster from the Kubernetes API: list, then watch. And writes, where that is asked for.

Law: whatever the API server, the network or the credentials do, the book keeps what it holds
and the feeds try again. The client library serves for credentials and requests; listing,
watching, deadlines and retries are ours, since the library's watch has none that hold. Reading
does not know that there is a writer: it has a client, credentials and troubles of its own, and
whatever becomes of it, the snapshot and what is served stay as they are.

kubeconfig   where the API server is and what proves who we are
execplugin   credentials from a plugin
session      one client, with credentials as they were when it opened
sessions     the session that all feeds share, replaced every few minutes
resources    which resources are read, and by which paths
feed         keeps one resource of one scope in the book
faults       everything that can go wrong, and what to do about it
pacing       how long to wait for what
election     which of several edges writes: the Lease
statuses     the edge's addresses into the status of Services
recorder     Events on Services, each said once
rights       which rights to write are missing
writer       the whole of writing: one session, one loop, one status
source       the whole: feeds, book, status
services     every Service, read once, for commands that ask about ports
"""
