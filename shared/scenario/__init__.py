"""Scenarios: a site, a weather, a timeline, and what must be true."""
