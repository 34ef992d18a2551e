"""Scripts and styles, read once and served under their content's hash; the chart library comes from the plotly package.

The chart library is only located, never imported: importing it would cost a server process time and memory.
"""

import asyncio
import gzip
import re
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from shared.errors import BadInput, NotFound

STATIC = Path(__file__).parent / "static"
MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
CHARTS = "plotly.min.js"
HASH_CHARS = 12


class Asset(Struct, frozen=True, kw_only=True):
    """A file as it goes out."""

    body: bytes
    gzipped: bytes
    media: str


class Assets:
    """All static files; `url` names one, `get` gives it."""

    def __init__(self) -> None:
        files = {path.name: path.read_bytes() for path in sorted(STATIC.iterdir()) if path.suffix in MEDIA}
        self._files = {name: _asset(name, body) for name, body in files.items()}
        self.version = sha256(b"".join(files.values())).hexdigest()[:HASH_CHARS]
        self._charts_path = _charts_path()
        stat = self._charts_path.stat()
        self._charts_version = sha256(f"{stat.st_size}-{stat.st_mtime_ns}".encode()).hexdigest()[:HASH_CHARS]
        self._charts: Asset | None = None
        self.charts_style_id = _injected_style_id(self._charts_path)

    def url(self, name: str) -> str:
        version = self._charts_version if name == CHARTS else self.version
        return f"/assets/{version}/{name}"

    async def get(self, name: str) -> Asset:
        """NotFound where there is no such file; the chart library is packed on first use, beside the loop."""
        if name == CHARTS:
            if self._charts is None:
                self._charts = await asyncio.to_thread(lambda: _asset(CHARTS, self._charts_path.read_bytes()))
            return self._charts
        asset = self._files.get(name)
        if asset is None:
            raise NotFound("no such file")
        return asset


def _asset(name: str, body: bytes) -> Asset:
    return Asset(body=body, gzipped=gzip.compress(body, 6, mtime=0), media=MEDIA[Path(name).suffix])


def _injected_style_id(path: Path) -> str:
    """The id under which the library would inject a style sheet for maps; an element that has it keeps it from that,
    as our content policy forbids inline styles (and we draw no maps)."""
    found = re.search(rb'getElementById\("([0-9a-f]{64})"\)', path.read_bytes())
    return found.group(1).decode() if found else "no-such-style"


def _charts_path() -> Path:
    spec = find_spec("plotly")
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in places:
        path = Path(place) / "package_data" / CHARTS
        if path.exists():
            return path
    raise BadInput("the chart library is missing: install the extra `enexa` (package plotly)")
