"""HTTP for both twins: serving, calling, tokens, audit, limits."""
