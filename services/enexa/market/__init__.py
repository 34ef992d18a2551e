"""Prices, tariffs and settlement: what energy costs, and what it cost."""
