"""Arithmetic of power and energy that both twins share."""
