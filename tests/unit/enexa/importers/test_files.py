"""Files as they come: packed or not, with a byte order mark, broken, or no text at all."""

import gzip
import os
from pathlib import Path

import pytest

from services.enexa.importers import files
from services.enexa.importers.files import text_of
from services.enexa.importers.prices import read_prices
from services.enexa.importers.pv import read_pv
from services.enexa.importers.sessions import read_sessions
from shared.errors import BadInput

SHARED = Path(os.environ.get("SHARED", "../shared"))


def test_a_packed_file_reads_like_an_open_one(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.csv", tmp_path / "a.csv.gz"
    plain.write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    packed.write_bytes(gzip.compress(plain.read_bytes()))

    assert text_of(plain, "price") == text_of(packed, "price") == "a,b\n1,2\n"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("gone.csv", None, "cannot be read"),
        ("not_packed.csv.gz", b"a,b\n", "cannot be read"),
        ("cut.csv.gz", gzip.compress(b"a,b\n" * 500)[:-6], "cannot be read"),
        ("picture.csv", b"\x89PNG\xff\xfe\x00", "not UTF-8"),
        ("bomb.csv.gz", gzip.compress(b"0" * 4000), "too large"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None, complaint: str
) -> None:
    monkeypatch.setattr(files, "MAX_BYTES", 3000)
    if content is not None:
        (tmp_path / name).write_bytes(content)

    for read in (read_prices, read_pv, read_sessions):
        with pytest.raises(BadInput, match=complaint):
            read(tmp_path / name)


def test_a_measured_roof_is_read_as_it_lies_there() -> None:
    path = SHARED / "data" / "pv_nrel_serf_roof_2016-07_2016-10_15min.csv.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here; set SHARED")

    series = read_pv(path)

    assert (series.interval_s, len(series.pv_kw)) == (900, 10_000)
