"""What is probed, and what the answers mean."""
