"""side."""


def side_by_side() -> None:
    """side."""
