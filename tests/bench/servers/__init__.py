"""Which HTTP server: the measurements behind docs/adr/0001-server.md."""
