"""Comparison of the rules of AuthorizationPolicies: one rule covers another if it matches all its requests."""

from collections.abc import Sequence

from ..fields import Fields, fields, items, text, texts


def rule_part(rule: Fields, side: str) -> list[Fields]:
    """Return the sources (side `from`) or operations (side `to`) of a rule, any of which may match."""
    return [fields(part, "source" if side == "from" else "operation") for part in items(rule, side)]


def rule_covers(wide: Fields, narrow: Fields) -> bool:
    """Return True if `wide` certainly matches each request that `narrow` matches."""
    for side in ("from", "to"):
        if not rule_part(wide, side):
            continue  # matches any
        for part in rule_part(narrow, side) or [{}]:
            if not any(_part_covers(other, part) for other in rule_part(wide, side)):
                return False
    conditions = items(narrow, "when")
    return all(any(_condition_covers(other, mine) for mine in conditions) for other in items(wide, "when"))


def pattern_covers(wide: str, narrow: str) -> bool:
    """Return True if pattern `wide` matches all that `narrow` does.

    Source: AuthorizationPolicy's string match: exact, `prefix*`, `*suffix`, or `*` for any value that is present.
    """
    if wide in (narrow, "*"):
        return True
    if "{" in wide:
        return False  # a path template: only the same one is certain
    if wide.endswith("*"):
        return not narrow.startswith("*") and narrow.removesuffix("*").startswith(wide[:-1])
    return wide.startswith("*") and not narrow.endswith("*") and narrow.removeprefix("*").endswith(wide[1:])


def _part_covers(wide: Fields, narrow: Fields) -> bool:
    return all(_values_cover(field, texts(wide, field), texts(narrow, field)) for field in wide if wide[field])


def _condition_covers(wide: Fields, narrow: Fields) -> bool:
    if text(wide, "key") != text(narrow, "key") or wide.get("notValues"):
        return False
    return _values_cover("values", texts(wide, "values"), texts(narrow, "values"))


def _values_cover(field: str, wide: Sequence[str], narrow: Sequence[str]) -> bool:
    if field.startswith("not"):  # the narrow rule excludes them, too
        return set(wide) <= set(narrow)
    return bool(narrow) and all(any(pattern_covers(other, value) for other in wide) for value in narrow)
