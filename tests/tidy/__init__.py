"""The house checks itself; each message says what to do."""
