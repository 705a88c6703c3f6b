"""The kernel plane's fast path: an eBPF program that translates TCP before netfilter sees it."""
