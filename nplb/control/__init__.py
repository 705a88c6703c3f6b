"""The one reconcile loop, and the status that it keeps."""
