"""The dashboards: pages rendered on the server, a live stream, and the scripts and styles that go with them."""
