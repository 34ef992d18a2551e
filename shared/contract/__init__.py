"""The REST map: every message and operation between the twins."""
