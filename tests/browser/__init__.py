"""The dashboards in a real Chromium, over a stack of three real processes."""
