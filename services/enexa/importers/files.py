"""Text of a file that somebody gives us: bounded, UTF-8, packed with gzip or not; every complaint is a sentence."""

import gzip
import zlib
from pathlib import Path

from shared.errors import BadInput

MAX_BYTES = 64_000_000


def text_of(path: Path, what: str) -> str:
    """The whole text of a `what` file; raises BadInput naming the file and the remedy."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
            # A packed file that was cut tells so only to who asks for more.
            raw += file.read(1) if len(raw) <= MAX_BYTES else b""
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        sentence = f"The {what} file cannot be read; check path and rights"
        raise BadInput(sentence, file=str(path), reason=reason) from error
    if len(raw) > MAX_BYTES:
        raise BadInput(f"The {what} file is too large; cut it to the days you need", file=path.name, most=MAX_BYTES)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"The {what} file is not UTF-8 text; is it the right file?", file=path.name) from error
