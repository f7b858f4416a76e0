"""Every link in a page leads somewhere."""

import re

import pytest
from pages import PAGES, ROOT, anchors, links, name, prose


def broken(page):
    for line, target in links(page):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        meant = (page.parent / path).resolve() if path else page
        if not meant.exists():
            yield f"{name(page)}:{line}: {target} leads nowhere"
        elif not meant.is_relative_to(ROOT):
            yield f"{name(page)}:{line}: {target} leads out of the project"
        elif anchor and anchor not in anchors(meant):
            yield f"{name(page)}:{line}: {name(meant)} has no heading #{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_of_a_page_leads_somewhere(page):
    errors = list(broken(page))
    assert not errors, "\n".join(errors)


def lost_files(page):
    """Files of the project that the page names in code style, from the root or from `src/amply`, and are not there."""
    for number, line in enumerate(prose(page).splitlines(), 1):
        for path in re.findall(r"`([a-z_.]+/[a-z0-9_/.-]+\.(?:py|md|sql|yaml|toml))`", line):
            if not any((place / path).exists() for place in (ROOT, ROOT / "src" / "amply")):
                yield f"{name(page)}:{number}: there is no {path}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_file_that_a_page_names_is_there(page):
    errors = list(lost_files(page))
    assert not errors, "\n".join(errors)


def test_every_page_of_the_documentation_is_in_its_table_of_contents():
    contents = ROOT / "docs" / "README.md"
    listed = {(contents.parent / target).resolve() for _, target in links(contents)}
    forgotten = [name(page) for page in (ROOT / "docs").rglob("*.md") if page != contents and page not in listed]
    assert not forgotten, f"{name(contents)} does not link to {', '.join(sorted(forgotten))}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# A\n\n[x](none.md)", "3: none.md leads nowhere"),
        ("[x\ny](#b)\n\n# A", "1: README.md has no heading #b"),
        ("```sh\n[x](none.md)\n```\n`[x](none.md)` [x](/)", "4: / leads out of the project"),
        ("[x](#a-b) [y](https://example.org/none)\n\n## A: b", None),
    ],
)
def test_a_broken_link_is_found_with_its_line(text, told, monkeypatch, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(text)
    monkeypatch.setattr("pages.ROOT", tmp_path)
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert list(broken(page)) == ([f"README.md:{told}"] if told else [])
