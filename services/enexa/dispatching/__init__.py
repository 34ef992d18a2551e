"""Layer 2: measured now plus schedule becomes one intent, a command, and a truthful record of what became of it."""
