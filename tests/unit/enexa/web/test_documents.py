"""A Markdown file as a page: everything escaped, our few forms drawn."""

from pathlib import Path

import pytest

from services.enexa.web.documents import document_html, to_html
from shared.errors import NotFound

TEXT = """# Title

Some *text* with `code` and **weight** and [a link](http://elsewhere).

## Part
Below.

* one
* two
  goes on

| a | b |
|---|--:|
| 1 | <2> |
"""


def test_headings_lists_and_tables() -> None:
    html = str(to_html(TEXT))

    assert "<h1>" not in html
    assert "<h2>Part</h2>" in html
    assert "<li>two goes on</li>" in html
    assert "<th>a</th><th>b</th>" in html
    assert "<code>code</code>" in html
    assert "<strong>weight</strong>" in html


def test_nothing_of_the_document_becomes_markup_of_its_own() -> None:
    assert "<script" not in str(to_html("<script>alert(1)</script>\n\n* <img onerror=x>"))
    assert "&lt;2&gt;" in str(to_html(TEXT))
    assert "elsewhere" not in str(to_html(TEXT))


def test_a_document_that_is_not_there_is_not_made_up(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        document_html(tmp_path / "not_modelled.md")
