"""Scenario and session files."""
