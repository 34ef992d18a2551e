"""Unit tests of the simulated world: its wires, its links, its judge."""
