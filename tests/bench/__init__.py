"""Speed and size, measured against limits and peers; nothing here is a timed assertion."""
