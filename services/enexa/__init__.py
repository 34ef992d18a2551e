"""Enexa: the platform that plans, dispatches and owns master data."""
