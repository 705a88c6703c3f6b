"""What runs in a relay worker: one thread, one epoll loop, its connections.

Law: imports nothing of the control side, nothing that is slow to import, and of nplb only
`model.reasons`, `policy` and the two modules that say how control and worker talk (`wire`,
`counters`). On the way of a client's bytes nothing is allocated that the system call does
not need, nothing is formatted, and nothing is logged.

loop        the epoll loop, the clock and its wheel of deadlines
listener    accepts clients
connection  a client, its backend, and the bytes between them
pipes       a pool of pipes for splice
tables      frontends and backends as the worker knows them
channel     what comes from control, and what goes there
main        puts these together
"""
