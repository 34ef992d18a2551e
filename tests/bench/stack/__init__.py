"""How fast a stack starts, closes its loop and heals, and how much memory it takes."""
