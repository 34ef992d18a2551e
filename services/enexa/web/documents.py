"""A Markdown file of the project as a page: headings, paragraphs, lists and tables, which is all our documents use."""

import re
from pathlib import Path

from markupsafe import Markup, escape

from shared.errors import NotFound

DOCS = Path(__file__).parents[3] / "docs"


def not_modelled_path() -> Path:
    return DOCS / "not_modelled.md"


def document_html(path: Path) -> Markup:
    """NotFound where the file is not there: a page is never made up."""
    if not path.is_file():
        raise NotFound(f"docs/{path.name} is not part of this installation")
    return to_html(path.read_text(encoding="utf-8"))


def to_html(text: str) -> Markup:
    """The document below its title; everything in it is escaped first."""
    blocks = re.split(r"\n\s*\n", text.strip())
    kept = [block for block in blocks if not block.startswith(("# ", "<!--"))]
    return Markup("\n").join(_block(block) for block in kept)


def _block(block: str) -> Markup:
    heading = re.match(r"(#{2,4}) (.+)", block)
    if heading:
        level = len(heading.group(1))
        rest = block[heading.end() :].strip()
        title = Markup("<h{0}>{1}</h{0}>").format(level, _inline(heading.group(2)))
        return title + _block(rest) if rest else title
    lines = block.splitlines()
    if all(line.startswith("|") for line in lines):
        return _table(lines)
    if re.match(r"[*-] |\d+\. ", lines[0]):
        return _list(lines)
    return Markup("<p>{}</p>").format(_inline(" ".join(lines)))


def _list(lines: list[str]) -> Markup:
    items: list[str] = []
    for line in lines:
        if re.match(r"\s*([*-]|\d+\.) ", line):
            items.append(re.sub(r"^\s*([*-]|\d+\.) ", "", line))
        else:
            items[-1] += " " + line.strip()
    return Markup("<ul>{}</ul>").format(Markup("").join(Markup("<li>{}</li>").format(_inline(item)) for item in items))


def _table(lines: list[str]) -> Markup:
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    body = [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    tagged = [_row(row, "th" if index == 0 else "td") for index, row in enumerate(body)]
    return Markup('<div class="scroll" tabindex="0"><table>{}</table></div>').format(Markup("").join(tagged))


def _row(cells: list[str], tag: str) -> Markup:
    return Markup("<tr>{}</tr>").format(
        Markup("").join(Markup("<{0}>{1}</{0}>").format(tag, _inline(c)) for c in cells)
    )


def _inline(text: str) -> Markup:
    """Code, bold and links to addresses on the web; other links keep their words."""
    html = str(escape(text))
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", html)
    html = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", html)
    html = re.sub(r"\[([^\]]+)\]\((?:[^)]+)\)", r"\1", html)
    return Markup(html)  # noqa: S704 -- escaped above; only our own tags were added
