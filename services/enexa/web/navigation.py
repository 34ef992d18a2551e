"""The customer's navigation as a table: which pages exist, and for the others, plainly, what they wait for."""

from msgspec import Struct


class Page(Struct, frozen=True, kw_only=True):
    """One page; `path` empty = not there yet, and `waits_for` says why. `per_site` pages live under /sites/{id}."""

    key: str
    title: str
    hint: str
    path: str = ""
    waits_for: str = ""
    operator_only: bool = False

    @property
    def exists(self) -> bool:
        return bool(self.path)


class Group(Struct, frozen=True, kw_only=True):
    title: str
    pages: tuple[Page, ...]


NAVIGATION: tuple[Group, ...] = (
    Group(
        title="Operation",
        pages=(
            Page(
                key="monitoring",
                title="Site Monitoring",
                hint="Real-time telemetry dashboard",
                path="/sites/{site_id}/monitoring",
            ),
        ),
    ),
)


def page(key: str) -> Page:
    return next(each for group in NAVIGATION for each in group.pages if each.key == key)


def existing(*, operator: bool) -> tuple[Group, ...]:
    """What the navigation shows: only pages that work, and only those that the reader may open."""
    groups = (
        Group(
            title=group.title,
            pages=tuple(each for each in group.pages if each.exists and (operator or not each.operator_only)),
        )
        for group in NAVIGATION
    )
    return tuple(group for group in groups if group.pages)


def missing() -> tuple[Page, ...]:
    return tuple(each for group in NAVIGATION for each in group.pages if not each.exists)
