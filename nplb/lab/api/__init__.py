"""The lab's API server: what kube-apiserver answers, for the kinds that matter to NodePorts.

Law: raw objects as the API has them, dicts and lists all the way; every rule names the place in
Kubernetes that it mirrors. What is stored is never changed, only replaced. Nothing here opens a
NodePort or runs a pod: that is the lab's.

server       ApiServer: HTTP, and the same operations in process; certificates
faults       what it does wrong on command; listener, its socket
handler      one request: faults, access, routes, verbs; views; requests and their bodies,
             parameters, answers and errors, jsontext and protobuf; times
watch        changes as a stream; listing, pages and selectors
operations   create, update, patch; deletion; decoding, what was sent
strategy     what differs between kinds: services (service_validation, clusterips), kinds, slices
managed      who owns which field, and server-side apply; fieldsets, the paths
patch        the three other patches
store        objects, revisions, the log of changes, subscriptions
schema       the shape of objects as Go declares it; types, the tables
registry     the kinds; discovery, versions and openapi, how they are told; metrics
portrepair   the port allocator's repair loop; endpoints, the old form of slices
"""
