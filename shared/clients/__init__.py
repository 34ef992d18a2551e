"""Typed clients of both services for other people's programs, made from the table of operations."""
