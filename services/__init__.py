"""The two services."""
