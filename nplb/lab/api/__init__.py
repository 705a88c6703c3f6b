"""The lab's API server: what kube-apiserver answers, for the kinds that matter to NodePorts.

Law: raw objects as the API has them, dicts and lists all the way; every rule names the place in
Kubernetes that it mirrors. Nothing here opens a NodePort or runs a pod: that is the lab's.

errors      the Status objects with which requests are refused
store       objects, revisions, the log of changes, subscriptions
server      ApiServer: HTTP, and the same operations in process
"""
