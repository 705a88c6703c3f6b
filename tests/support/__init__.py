"""What tests share: builders of values, servers, and the lab as a fixture."""
