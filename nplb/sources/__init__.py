"""Where cluster state comes from: each source publishes whole snapshots."""
