"""Which nodes may serve, and how a client is given a backend.

Law: pure, and every answer carries its reason. The API states intent here; whether a
backend works is for probes to prove.

nodes                   which nodes may serve; selectors, by their labels
evidence                what the verdicts of all services of a node say together
explain                 every reason in whole sentences
balance, hashing        how a client is given a backend
ranges, addressset      whether an address is in CIDRs, few or many; prefixes, the lists
kernel                  what the kernel plane can't do
"""
