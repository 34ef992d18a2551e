"""The command `enexa`."""

import sys


def main() -> int:
    """Run one command and answer its exit code."""
    # Imported here because the planner's worker process runs this file too, and needs nothing of the server.
    from services.enexa.commands import main as run  # noqa: PLC0415

    return run()


if __name__ == "__main__":
    sys.exit(main())
