"""What probes say once they are connected, without any I/O.

Law: a conversation is told what arrived and says what to send. It neither reads nor writes a
socket, knows no deadline, and ends with one result. So each kind is tested byte by byte.

conversation  the words: what every kind of probe must be able to do, and its result
http          a request, and an answer with an expected status
tls           a handshake to its end and a goodbye, around another conversation or alone
exchange      bytes to send, bytes to expect
proxy         the PROXY header that goes first where the frontend sends one
kinds         the conversation that a `Check` asks for
"""
