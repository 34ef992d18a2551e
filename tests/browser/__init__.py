"""The dashboards in a real browser, over a real stack."""
