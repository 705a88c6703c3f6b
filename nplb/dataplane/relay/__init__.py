"""The relay plane: worker processes, each one epoll loop, and the control side that runs them.

Law: control owns every listening socket and all numbers of rows; a worker owns its
connections. A worker gets whole frontends, changes nothing on its own, and needs nothing
from control to go on serving: it outlives control, and keeps for the next one whatever that
must have. Counters have one writer each: the worker whose memory they are in. The worker package
imports nothing of the control side.

wire          what control and a worker say to each other
counters      where each counter lives in shared memory
spec          what of a frontend a worker is told
proxy_header  the PROXY protocol's header
rows          which frontend or backend has which row of counters
listeners     sockets that listen, or why they can't
seats         which listening sockets there are, and which worker takes clients from each
process       one worker process: start it, talk to it, notice its end
pool          all of them: started, watched, replaced, retired, taken over
runtime       the runtime directory: one control at a time, and where its workers are found
survivors     workers that have outlived their control: find them, ask them what they have
safe          what must outlive control, in descriptors that every worker keeps
traffic       rows of counters, as they are read and in words
accounts      who has which row, and what all rows amount to
accesspipe    the access log's lines, from all workers
admitted      which clients a frontend admits, as workers are told
acknowledged  whether workers have taken what was sent
told          what workers have been told of frontends, and what of a plan is news
bindings      which addresses are to be listened on, and which can't be
plane         `RelayPlane`: takes plans, closes and drains, hands over
worker/       what runs in the worker process
"""
