"""Amperio: the middleware that translates, guards, stores and forwards."""
