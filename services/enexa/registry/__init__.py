"""Asset registry and config repository: the single source of truth for master data, as pure rules."""
