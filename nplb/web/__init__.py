"""The admin HTTP server: reads status, changes nothing by itself."""
