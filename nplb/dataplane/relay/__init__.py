"""The relay plane: worker processes, each one epoll loop, and the control side that runs them.

Law: control owns every listening socket and all numbers of rows; a worker owns its
connections. A worker gets whole frontends, changes nothing on its own, and needs nothing
from control to go on serving. Counters have one writer each: the worker whose memory they
are in. The worker package imports nothing of the control side.

wire       what control and a worker say to each other
counters   where each counter lives in shared memory
spec       what of a frontend a worker is told
proxy_header  the PROXY protocol's header
rows       which frontend or backend has which row of counters
listeners  sockets that listen, or why they can't
process    one worker process: start it, talk to it, watch it
traffic    the counters of all workers, dead ones included, as one `Traffic`
plane      `RelayPlane`: takes plans, keeps the workers, closes and drains
worker/    what runs in the worker process
"""
