"""Start, watch and stop the three programs on one machine, with containers or without."""
