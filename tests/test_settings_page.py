"""docs/settings.md is what the classes and conf/ say."""

from __future__ import annotations

from tests.settings_page import GIVEN, PAGE, chapters, meanings_of, own_parameters, page


def test_the_page_is_the_one_that_the_classes_and_conf_make() -> None:
    assert PAGE.read_text() == page(), "regenerate it: python -m tests.settings_page"


def test_every_setting_says_what_it_means() -> None:
    silent = [
        f"{section.prefix}.{name} ({section.kind.__qualname__})"
        for sections in chapters().values()
        for section in sections
        for name, _ in own_parameters(section.kind)
        if not meanings_of(section.kind).get(name) and f"{section.prefix}.{name}" not in GIVEN
    ]
    assert silent == [], "write a comment beside the field, or an entry under the docstring's Args"
