"""Amperio."""
