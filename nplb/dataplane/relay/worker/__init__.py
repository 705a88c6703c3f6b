"""What runs in a relay worker: one thread, one epoll loop, its connections.

Law: imports nothing of the control side, nothing that is slow to import, and of nplb only
`model.reasons`, `policy`, and what both sides share (`wire`, `counters`, `proxy_header`). On the
way of a client's bytes nothing is allocated that the system call does not need, nothing is
formatted, and nothing is logged.

loop        the epoll loop, the clock and its wheel of deadlines
listener    accepts clients
connection  a client and its backend, from accept to end
side        one socket of a connection, and the bytes that flow from it
arrival     the PROXY header, and whether the client may come in
pipes       a pool of pipes for splice
frontend    who of its backends is given a client, and who waits; backend, one of them
admission   which clients a frontend takes
affinity    which backend a client came to last
drain       the connections of a backend that leaves
accesslog   a line for each connection that ended
rights      takes from the process what it does not need
reserve     memory for when there is no other
state       what all of them share
rendezvous  where the next control finds this worker
channel     what comes from control, and what goes there
main        puts these together
"""
