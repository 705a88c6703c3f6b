"""The lab's API server: what kube-apiserver answers, for the kinds that matter to NodePorts."""
