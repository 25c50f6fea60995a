"""Read a page as a browser does: sections, texts, tables, links, and the files that a browser would fetch."""

import re
from html.parser import HTMLParser

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Sections, texts, rows of tables and links of a page, and the files it fetches; tags must close each other."""

    def __init__(self, html):
        super().__init__()
        self.open, self.sections, self.fetched, self.ids, self.words = [], [], [], [], []
        self.rows, self.texts, self.links = [], {}, []
        self.feed(str(html))
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.note(tag, dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.note(tag, dict(attrs))

    def note(self, tag, attrs):
        self.sections += [attrs["id"]] if tag == "section" else []
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs["href"]] if tag == "a" else []
        links = [attrs[name] for name in ("src", "href") if name in attrs]
        self.fetched += [link for link in links if not link.startswith(("#", "data:image/png;base64,"))]
        self.fetched += [tag] if tag in ("script", "link", "img", "iframe") else []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)
            section = self.sections[-1] if "section" in self.open else "header"
            self.texts[section] = self.texts.get(section, "") + data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(self.words)


def check(html):
    """Read a page; assert that it needs no other file, and that its references and colours are those of the page."""
    page = Page(html)
    assert not page.fetched
    assert "http" not in html
    assert "@import" not in html
    assert len(page.ids) == len(set(page.ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', html)) <= set(page.ids)
    assert not re.search(r"#0101[0-9a-f]{2}", html)
    assert set(re.findall(r"var\(--(\w+)\)", html)) <= set(re.findall(r"--(\w+):", html))
    assert not re.search(r"[\s>\"](nan|inf)\b", re.sub(r"base64,[^\"]*", "", html))
    return page
