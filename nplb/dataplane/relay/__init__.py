"""The relay plane: worker processes, each one epoll loop."""
