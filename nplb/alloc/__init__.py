"""The twin of the NodePort allocator of kube-apiserver: pure."""
