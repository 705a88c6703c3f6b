"""Raw API objects into the model: the one place that knows the shape of Kubernetes JSON."""
