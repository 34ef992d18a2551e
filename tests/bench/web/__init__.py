"""The dashboards' speed: server time of pages, fifty viewers of the live page, bytes of a page load."""
