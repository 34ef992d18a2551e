"""Scenarios that come with the product; each TOML file is one story."""
