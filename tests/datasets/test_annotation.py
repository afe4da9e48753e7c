"""Strong or weak, and who looked for what: the two rules, and a declaration that wins."""

import pytest

from abdoseg.datasets import STRONG_RULES, LabelConvention, annotated_classes

ORGANS = list(range(1, 14))


@pytest.mark.parametrize(
    ("missing", "extra", "by_count", "by_anatomy"),
    [
        ([], [], ORGANS, ORGANS),
        ([9], [], None, ORGANS),
        ([9], [14], [c for c in ORGANS if c != 9] + [14], [*ORGANS, 14]),
        ([], [14], None, [*ORGANS, 14]),
        ([2, 9], [], None, ORGANS),
        ([2, 13], [], None, None),
        ([5], [], None, None),
        ([5], [14], [c for c in ORGANS if c != 5] + [14], None),
        ([5, 6, 7, 8, 9, 10, 11, 12], [], None, None),
    ],
)
def test_strong_rules(missing, extra, by_count, by_anatomy):
    present = {*ORGANS, *extra} - set(missing)
    assert list(STRONG_RULES) == ["count", "anatomy"]
    for rule, expected in (("count", by_count), ("anatomy", by_anatomy)):
        kind, annotated = annotated_classes(present, LabelConvention(), rule)
        assert kind == ("weak" if expected is None else "strong")
        # A weak case's annotated classes are those that are drawn.
        assert annotated == (sorted(present) if expected is None else expected)


@pytest.mark.parametrize("rule", STRONG_RULES)
def test_a_declaration_wins_over_what_is_drawn(rule):
    tumors = LabelConvention(annotated=(14, 1))
    # Absent where it is not drawn; also in a case in which nothing is.
    for present in ({1, 14}, {1}, set(), set(range(1, 14))):
        assert annotated_classes(present, tumors, rule) == ("weak", [1, 14])
    organs = LabelConvention(annotated=tuple(ORGANS))
    assert annotated_classes({1, 2}, organs, rule) == ("strong", ORGANS)
    assert annotated_classes({1, 14}, LabelConvention(annotated=(*ORGANS, 14)), rule) == ("strong", [*ORGANS, 14])
