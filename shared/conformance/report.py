"""Verdicts for people and machines: a terminal, JUnit for a build server, one HTML page for a meeting."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from xml.sax.saxutils import quoteattr

from shared.conformance.checks import Verdict
from shared.conformance.page import Sentence

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1d2430 }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .6rem; vertical-align: top }
tr:nth-child(even) { background: #f3f5f8 } .conforms { color: #06703c } .works { color: #8a5a00 }
.fails { color: #b3122a; font-weight: 600 } .none { color: #667 }
"""
CLASSES = {"conforms": "conforms", "still works": "works", "FAILS": "fails", "not tried": "none"}


def text_lines(subject: str, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """The table of a terminal, and the sum."""
    yield f"conformance of {subject}"
    yield from (f"  {each.word:12} {each.check:20} {each.title}: {each.seen}" for each in verdicts)
    yield summary(verdicts)


def summary(verdicts: Iterable[Verdict]) -> str:
    words = [each.word for each in verdicts]
    return ", ".join(f"{words.count(word)} {word.lower()}" for word in CLASSES)


def traced(
    sentences: Iterable[Sentence], verdicts: Sequence[Verdict]
) -> Iterator[tuple[Sentence, tuple[Verdict, ...]]]:
    """Each sentence of the page with the verdicts of the checks that cover it."""
    for sentence in sentences:
        yield sentence, tuple(each for each in verdicts if sentence.id in each.covers)


def junit(subject: str, verdicts: Sequence[Verdict]) -> str:
    """One test case a check. It fails where nothing works; what works without conforming fails too, and says so."""
    tried = [each for each in verdicts if each.conforms is not None]
    failures = sum(not each.conforms for each in tried)
    head = (
        f'<testsuite name={quoteattr("conformance of " + subject)} tests="{len(verdicts)}" failures="{failures}" '
        f'skipped="{len(verdicts) - len(tried)}" time="{sum(each.took_s for each in verdicts):.3f}">'
    )
    return "\n".join(('<?xml version="1.0" encoding="UTF-8"?>', head, *map(_case, verdicts), "</testsuite>", ""))


def _case(verdict: Verdict) -> str:
    opened = (
        f"  <testcase classname={quoteattr(verdict.check.split('-')[0])} "
        f'name={quoteattr(verdict.check + " " + verdict.title)} time="{verdict.took_s:.3f}"'
    )
    if verdict.conforms:
        return opened + "/>"
    if verdict.conforms is None:
        return f"{opened}><skipped message={quoteattr(verdict.seen)}/></testcase>"
    return f"{opened}><failure type={quoteattr(verdict.word)} message={quoteattr(verdict.seen)}/></testcase>"


def html(subject: str, verdicts: Sequence[Verdict], sentences: Iterable[Sentence]) -> str:
    """One page: the checks, and every sentence of the customer's page with what covers it."""
    checks = "".join(
        f'<tr><td class="{CLASSES[each.word]}">{each.word}</td><td>{escape(each.check)}</td>'
        f"<td>{escape(each.title)}</td><td>{escape(each.seen)}</td></tr>"
        for each in verdicts
    )
    rows = "".join(_trace_row(sentence, found) for sentence, found in traced(sentences, verdicts))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Conformance of {escape(subject)}</title>'
        f"<style>{STYLE}</style></head><body><h1>Conformance of {escape(subject)}</h1><p>{summary(verdicts)}</p>"
        "<table><thead><tr><th>Verdict</th><th>Check</th><th>What is asked</th><th>What was seen</th></tr></thead>"
        f"<tbody>{checks}</tbody></table><h2>The page, sentence by sentence</h2>"
        "<table><thead><tr><th>Id</th><th>Sentence</th><th>Here</th><th>Elsewhere</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></body></html>\n"
    )


def _trace_row(sentence: Sentence, found: tuple[Verdict, ...]) -> str:
    here = ", ".join(f'<span class="{CLASSES[each.word]}">{escape(each.check)}</span>' for each in found)
    elsewhere = escape("heading" if sentence.heading else "; ".join(sentence.proof))
    return f"<tr><td>{sentence.id}</td><td>{escape(sentence.text)}</td><td>{here or '–'}</td><td>{elsewhere}</td></tr>"
