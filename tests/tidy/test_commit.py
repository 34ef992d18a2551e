"""What may be committed: no machine, no registry, no secret, and a lock that is whole."""

import re

from tests.tidy.source import ROOT, at, files, project

TEXT = {".py", ".md", ".toml", ".yaml", ".sh", ".lock", ".html", ".css", ".js", ".csv", ""}
# Written so that this file passes its own check.
MACHINE = re.compile(r"(?<![\w.])/(?:r[o]ot|w[o]rk|h[o]me/\w+|U[s]ers/\w+)/")
REGISTRY = re.compile(r"(?:index-url|find-links) *=? *\S*(?:https?|file):|registry *= *\{|files\.python[h]osted")
KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE [K]EY-----")
LONGEST_FILE_BYTES = 1_500_000


def test_no_file_names_a_machine_a_registry_or_a_key() -> None:
    found = [
        f"{at(path, number)} {pattern.pattern[:20]}"
        for path in files()
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for pattern in (MACHINE, REGISTRY, KEY)
        if pattern.search(line)
    ]

    assert not found, f"remove what belongs to one machine: {found}"


def test_nothing_large_and_nothing_made_is_committed() -> None:
    large = [at(path, 1) for path in files() if path.stat().st_size > LONGEST_FILE_BYTES]
    made = [at(path, 1) for path in files() if path.suffix in {".db", ".sqlite", ".pyc", ".pem", ".key", ".log"}]

    assert not large, f"keep data beside the project, not inside it: {large}"
    assert not made, f"leave out what a program makes: {made}"


def test_the_lock_pins_and_hashes_every_package_and_names_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", lock, flags=re.MULTILINE))

    assert "://" not in lock, "renew the lock with make lock; it must not carry addresses"
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==\S+", entry), f"not pinned: {entry[:60]}"
        assert "--hash=sha256:" in entry, f"not hashed: {entry[:60]}"


def test_the_lock_holds_what_pyproject_names() -> None:
    table = project()["project"]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    named = [*table["dependencies"], *(each for extra in table["optional-dependencies"].values() for each in extra)]
    locked = dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", lock, re.MULTILINE))

    for requirement in named:
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower()
        assert name in locked, f"{name} is in pyproject.toml and not in requirements.lock: run make lock"
        for low in re.findall(r">=([\d.]+)", requirement.partition(";")[0]):
            assert _version(locked[name]) >= _version(low), f"{name} is locked at {locked[name]}: run make lock"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
