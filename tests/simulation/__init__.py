"""Both twins and the device on one manual clock: the real cores, in-memory links, seeded faults, and a verdict."""
