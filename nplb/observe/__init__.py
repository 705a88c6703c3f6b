"""Metrics, logs, and the journal of decisions.

Law: what is shown here is what `model.status` and `model.decision` say, in the same words. A
client's address is never a metric label, a credential never in a log line. Nothing here can
slow the balancer down for long: what grows with the cluster is bounded or summed up.

logs         stdlib logging, as text or JSON lines, with repeated lines held back
accesslog    the access log's lines, to a file or to standard output
journal      the last decisions, for whoever asks or waits for more
interfaces   which addresses the host's interfaces have
hostports    who listens on the host, and which ports the kernel gives away
systemd      what the service manager is told
families     every metric's name, type, labels and meaning: what docs/metrics.md shows
metrics      a status as Prometheus metrics
ledger_metrics  the ledgers, as more of them
exposition   metrics as the text of a scrape
document     docs/metrics.md, from the families
history      the last hour, in bounded rings
"""
