"""The project's own files, read and parsed once, for checks that walk over all of them."""

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CODE = ("services", "shared", "emulator")
PROGRAMS = {"services.enexa": "enexa", "services.amperio": "amperio", "emulator": "emulator"}


@cache
def files() -> tuple[Path, ...]:
    """Every file that is, or may become, part of a commit."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    return tuple(path for name in sorted(set(listed)) if (path := ROOT / name).is_file())


def modules(*packages: str) -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every Python module below the given top directories."""
    for path in files():
        parts = path.relative_to(ROOT).with_suffix("").parts
        if path.suffix == ".py" and parts[0] in packages:
            yield ".".join(parts), path


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def at(path: Path, node: ast.AST | int) -> str:
    """Where to look: file and line."""
    line = node if isinstance(node, int) else getattr(node, "lineno", 1)
    return f"{path.relative_to(ROOT)}:{line}"


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def pure_packages() -> tuple[str, ...]:
    """What import-linter keeps away from the world; one list for both."""
    contracts = project()["tool"]["importlinter"]["contracts"]
    return tuple(next(each for each in contracts if each["name"] == "Cores touch nothing")["source_modules"])


def is_pure(module: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in pure_packages())


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports, with the names taken from them."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found
