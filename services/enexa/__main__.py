"""The command `enexa`."""

import sys


def main() -> int:
    """Run one command and answer its exit code."""
    from services.enexa.commands import main as run  # noqa: PLC0415 -- the planner's worker runs this file too

    return run()


if __name__ == "__main__":
    sys.exit(main())
