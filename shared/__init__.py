"""What at least two of the three programs need; it stands on nothing."""
