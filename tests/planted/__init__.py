"""Bugs planted on purpose, as patches that each name the test which must fail."""
