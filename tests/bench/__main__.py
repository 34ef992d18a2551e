"""Run every bench in turn: each package beside this file that has a `__main__`; names choose some of them."""

import subprocess
import sys
from pathlib import Path


def main(chosen: list[str]) -> int:
    """0 if all of them ran, else the number that failed."""
    known = sorted(path.parent.name for path in Path(__file__).parent.glob("*/__main__.py"))
    unknown = [name for name in chosen if name not in known]
    if unknown:
        print(f"there is no bench {unknown[0]!r}: choose from {', '.join(known)}", file=sys.stderr)
        return 2
    failed = 0
    for name in chosen or known:
        print(f"\n## {name}\n", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
