"""The API gateway: one file per conversation, each route a few lines."""
