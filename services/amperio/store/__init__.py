"""What Amperio must not forget, on SQLite: outbox, ledger, last known schedule and configuration."""
