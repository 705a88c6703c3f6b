"""The admin HTTP server: reads status; what it changes, it hands on.

Law: everything shown is in one `Status`, taken when somebody asks. Whatever clients do here,
slow, greedy or hostile, the balancer does not notice: connections are few and watched, heavy
pages are made in a thread, a few at a time, and bounded.

server     binds, runs and stops the server
guard      connections: how many, how slow, how long
tls        a certificate that is read again when it changes
access     under which names it may be asked: the Host header
rights     what a request may do: nothing, read, change
tokens     bearer tokens out of files, and how often a client may guess
errors     every error answer as JSON
health     /livez, /readyz, /healthz
pages      making heavy answers in a thread, with compression
api        /api/v1/...: what runs, as JSON
explain    why each node of a Service is in or out
details    one frontend, one node, one cluster's ports
changes    drains by hand, and manifests to be checked
portcheck  answers to a manifest as JSON
board      a status in the compact form that the dashboard draws
overview   what of it the first page shows
stream     boards and decisions as server-sent events
static     the dashboard's files
openapi    the API's description; schemas, of values, read off the model's types
render     frozen dataclasses as JSON
"""
