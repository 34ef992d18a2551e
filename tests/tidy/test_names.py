"""A number with a unit says it, once, as the last word of its name."""

import ast
import re

from shared.chargepost.registers import all_fields
from tests.tidy.source import CODE, at, modules, tree

UNITS = {
    "kw", "kwh", "kva", "kvar", "w", "wh", "v", "a", "hz", "c", "pct", "ratio", "s", "ms", "h", "min", "slot", "eur",
    "days", "years", "km", "m2", "kg", "deg", "count", "seq", "bytes", "mb",
}  # fmt: skip
MIDDLE = re.compile(r"(?<!_per)_(?:kw|kwh|kva|kvar|pct|hz|eur|ms)_(?!per_|at_)")
RATES = re.compile(r"_per_[a-z0-9]+(?:_year|_h)?$")
PLAIN = {
    "s", "speed", "jitter", "power_factor", "value", "low", "high", "factor", "sentinel", "weight", "burst",
    "never_above", "never_below", "at_least", "at_most", "equals",
    "expires_in", "marketprice",
}  # fmt: skip
"""Numbers without a unit; whose unit is named beside them (scenarios); as others spell them (OAuth, aWATTar)."""


def test_a_float_of_a_struct_ends_in_its_unit() -> None:
    nameless = [
        f"{at(path, field)} {field.target.id}"
        for _, path in modules(*CODE)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and _is_float(field.annotation)
        and not _says_its_unit(field.target.id)
    ]

    assert not nameless, f"end these names in their unit (docs/glossary.md lists the suffixes): {nameless}"


def test_a_unit_is_the_last_word() -> None:
    upside_down = sorted(
        {
            f"{at(path, node)} {name}"
            for _, path in modules(*CODE)
            for node in ast.walk(tree(path))
            for name in _bound_names(node)
            if MIDDLE.search(name.lower())
        }
    )

    assert not upside_down, f"put the unit last (max_power_kw, not max_kw_power): {upside_down}"


def test_a_register_ends_in_its_unit() -> None:
    plain = {"", "1", "enum", "text", "-"}
    numbers = [field for field in all_fields() if field.choices is None and field.reg.unit not in plain]

    nameless = [f"{field.span}.{field.name} [{field.reg.unit}]" for field in numbers if not _says_its_unit(field.name)]
    assert not nameless, f"end these registers' names in their unit: {nameless}"


def _is_float(annotation: ast.expr) -> bool:
    return ast.unparse(annotation).replace("'", "").replace('"', "") in {"float", "float | None"}


def _says_its_unit(name: str) -> bool:
    lowered = name.lower().strip("_")
    return lowered in PLAIN or lowered.rpartition("_")[2] in UNITS or bool(RATES.search(lowered))


def _bound_names(node: ast.AST) -> list[str]:
    """Names that a node introduces for values."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.arg):
        return [node.arg]
    return []
