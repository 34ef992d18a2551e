"""What the dashboards say: pure views of what the store knows."""
