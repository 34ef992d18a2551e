"""The routes, one file per conversation; each a few lines over the platform."""
