"""How fast the simulated plant runs, against the same loop in C."""
