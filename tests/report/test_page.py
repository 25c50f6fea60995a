from markupsafe import Markup
from pagereader import check

from raystellar.report.page import (
    block,
    bold,
    code,
    columns,
    details,
    figure,
    header,
    html_page,
    in_units,
    joined,
    listing,
    paragraph,
    picture,
    section,
    table,
    tile,
    wide,
)  # fmt: skip
from raystellar.report.svg import inline_svg
from raystellar.targets import FEH, TEFF

TEXT = '<b>&"x'
ESCAPED = "&lt;b&gt;&amp;&#34;x"


def every_block():
    return [
        header(TEXT, TEXT, TEXT, [TEXT]), section("a", TEXT, TEXT), figure("b", TEXT, TEXT, TEXT), picture(TEXT, TEXT),
        tile(TEXT, TEXT), table([TEXT], [[TEXT]]), paragraph(TEXT), code(TEXT), bold(TEXT), listing(TEXT), wide(TEXT),
        columns(TEXT), block(TEXT), details(TEXT, TEXT), joined([TEXT], TEXT), html_page(TEXT, [TEXT]),
    ]  # fmt: skip


def test_every_block_escapes_text_and_returns_markup():
    for html in every_block():
        assert isinstance(html, Markup)
        assert TEXT not in html
        assert ESCAPED in html


def test_markup_goes_into_blocks_unchanged():
    assert paragraph("a ", bold("b & c")) == "<p>a <b>b &amp; c</b></p>"
    assert joined([code("x"), "y"], Markup("<br>")) == "<code>x</code><br>y"


def test_a_page_lists_its_sections_and_leaves_out_empty_ones():
    page = check(html_page("title", [header("h", "p", "w", []), section("one", "1 & 2", "text"), "", Markup()]))
    assert page.sections == ["one"]
    assert page.links == ["#one"]
    assert page.texts["one"].split() == ["1", "&", "2", "text"]


def test_a_table_aligns_numbers_and_marks_a_row():
    html = table(["a", "b"], [["1", "2"], ["3", "4"]], numbers=(1,), marked=1)
    assert html.splitlines()[1:4] == [
        '<tr><th>a</th><th class="n">b</th></tr>',
        '<tr><td>1</td><td class="n">2</td></tr>',
        '<tr class="best"><td>3</td><td class="n">4</td></tr>',
    ]
    assert "<th" not in table([], [["1"]])


def test_texts_of_a_figure_are_escaped():
    svg = inline_svg(lambda figure: figure.text(0.5, 0.5, TEXT), (2, 2), "name", TEXT)
    assert TEXT not in svg
    assert svg.count("&lt;b&gt;&amp;") == 2
    check(html_page("title", [picture(svg)]))


def test_labels_are_as_precise_as_their_units_ask():
    assert in_units(5772.4, TEFF) == "5772\u202fK"
    assert in_units(-0.12345, FEH) == "-0.123\u202fdex"
    assert in_units(None, FEH) == in_units(float("nan"), FEH) == "none"
