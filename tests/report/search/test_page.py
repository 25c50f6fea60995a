"""The report of a search shows what the trials say, and needs no other file."""

import math
import re
from dataclasses import replace

import pytest
from formulasearch import CONFIG, EPOCHS, SPACE, search
from pagereader import Page

from raystellar.errors import OutputError
from raystellar.report.search.page import search_page, write_search_report
from raystellar.search.trials import best

SECTIONS = ["winner", "finalists", "history", "curves", "parallel", "importance", "front", "states", "trials"]


@pytest.mark.parametrize(
    ("config", "failing", "absent"),
    [
        (replace(CONFIG, trials=20), (), []),
        (replace(CONFIG, trials=9, seeds=1), (2, 7), ["finalists", "parallel", "importance"]),
        (replace(CONFIG, trials=2), (), ["history", "parallel", "importance", "front"]),
        (replace(CONFIG, rungs=(), seeds=1, trials=4, generation=4), (0,), ["finalists", "parallel", "importance"]),
        (replace(CONFIG, trials=9, generation=9, objective="parameters"), (3,), ["importance"]),
        (replace(CONFIG, trials=9, objective="time"), (), ["importance"]),
    ],
    ids=["whole", "failures", "two trials", "no rungs", "one generation by parameters", "by time"],
)
@pytest.mark.filterwarnings("error")
def test_the_page_shows_the_search_and_fetches_nothing(config, failing, absent):
    trials, _ = search(config, failing)
    html = search_page("s3://bucket/a&b", trials, config, EPOCHS, SPACE)
    page, winner = Page(html), best(trials)
    text = " ".join(page.words)
    assert page.sections == [name for name in SECTIONS if name not in absent]
    assert re.findall(r'<a href="#([a-z]+)"', html) == page.sections
    assert not page.fetched
    assert "http" not in html
    assert "@import" not in html
    assert len(page.ids) == len(set(page.ids))
    assert ("Figures left out" in text) == bool(set(absent) - {"finalists"})
    assert f"Winner: trial {winner.number}" in text
    assert f"{winner.loss():.5f}" in text
    assert f"{winner.parameters:,}".replace(",", "\u202f") in text
    assert f"{winner.choice['learning_rate']:.3g}" in text
    assert "raystellar train DATASET --config s3://bucket/a&b/best.toml --out MODEL" in text
    assert text.count("the loss is <not finite>") == bool(failing)
    assert not re.search(r"\b(nan|inf)\b", html)


def test_references_within_the_page_exist_and_colours_are_variables():
    config = replace(CONFIG, trials=20)
    html = search_page("out", search(config)[0], config, EPOCHS, SPACE)
    ids = set(Page(html).ids)
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', html)) <= ids
    assert not re.search(r"#0101[0-9a-f]{2}", html)
    assert set(re.findall(r"var\(--(\w+)\)", html)) <= set(re.findall(r"--(\w+):", html))


def test_the_search_of_four_trials_lists_them_openly():
    trials, _ = search(replace(CONFIG, trials=4))
    html = search_page("out", trials, CONFIG, EPOCHS, SPACE)
    assert "<details>" not in html
    assert "<details>" in search_page("out", search(CONFIG)[0], CONFIG, EPOCHS, SPACE)


def test_a_search_without_any_loss_has_a_page():
    trials, _ = search(CONFIG, range(12))
    assert Page(search_page("out", trials, CONFIG, EPOCHS, SPACE)).sections == ["states", "trials"]


def test_values_that_are_not_finite_do_not_spoil_the_figures():
    trials, _ = search(CONFIG)
    trials[1].validation[0] = trials[1].training[0] = math.nan
    trials[2].validation[0] = 1e30
    for trial in trials:
        trial.repeats = dict.fromkeys(trial.repeats, math.inf)
    html = search_page("out", trials, CONFIG, EPOCHS, SPACE)
    assert not re.search(r"[\s>\"](nan|inf)", html)


def test_the_same_search_makes_the_same_page(tmp_path):
    config = replace(CONFIG, trials=2)
    trials, _ = search(config)
    write_search_report(str(tmp_path), trials, config, EPOCHS, SPACE)
    first = (tmp_path / "_report.html").read_bytes()
    write_search_report(str(tmp_path), trials, config, EPOCHS, SPACE)
    assert (tmp_path / "_report.html").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["_report.html"]
    with pytest.raises(OutputError):
        write_search_report(str(tmp_path / "none"), trials, config, EPOCHS, SPACE)
