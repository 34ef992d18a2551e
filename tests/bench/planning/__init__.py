"""How fast the planner is, as ratios to HiGHS's own solve time on the same problem."""
