from dataclasses import dataclass
from typing import Literal

import pytest

from raystellar.cli.settings import Settings, compose, presets
from raystellar.config import build, digest, merge, parse_setting, read_toml, to_plain
from raystellar.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Section:
    rate: float = 0.5
    count: int = 3
    mode: Literal["a", "b"] = "a"
    widths: tuple[int, ...] = (1, 2)
    name: str | None = None
    on: bool = False

    def __post_init__(self):
        if self.count < 0:
            raise ValueError(f"count = {self.count} must not be negative")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fit.epochs=3", {"fit": {"epochs": 3}}),
        ("fit.rate = 1e-3", {"fit": {"rate": 1e-3}}),
        ("a.b=[1, 2]", {"a": {"b": [1, 2]}}),
        ("a.b=true", {"a": {"b": True}}),
        ("a.b=plain words", {"a": {"b": "plain words"}}),
        ("a.b.c='x'", {"a": {"b": {"c": "x"}}}),
        ("a.b=", {"a": {"b": ""}}),
    ],
)
def test_settings_are_toml_values_or_text(text, expected):
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["fit.epochs", "epochs=3", ".=3", "a.=3"])
def test_malformed_settings_are_refused(text):
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        parse_setting(text)


def test_later_tables_are_laid_over_earlier_ones():
    assert merge({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}, "b": 4}) == {"a": {"x": 1, "y": 3}, "b": 4}


def test_values_are_converted():
    section = build(Section, {"rate": 1, "widths": [3], "name": "n", "on": True}, "section")
    assert section == Section(rate=1.0, widths=(3,), name="n", on=True)
    assert isinstance(section.rate, float)
    assert build(Section, to_plain(section), "section") == section


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"raet": 1}, r"unknown key s\.raet; did you mean rate\?"),
        ({"zzzz": 1}, "known are count, mode"),
        ({"rate": "fast"}, r"s\.rate = 'fast' must be of type float"),
        ({"count": 1.5}, "must be of type int"),
        ({"count": True}, "must be of type int"),
        ({"on": 1}, "must be of type bool"),
        ({"mode": "c"}, "must be one of 'a', 'b'"),
        ({"widths": 3}, "must be a list"),
        ({"widths": ["x"]}, r"s\.widths\[0\]"),
        ({"count": -1}, r"\[s\] count = -1 must not be negative"),
        (3, "must be a table of keys"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(values, message):
    with pytest.raises(ConfigError, match=message) as error:
        build(Section, values, "s")
    assert "\n" not in str(error.value)


def test_digest_knows_values_but_not_order():
    assert digest({"a": 1, "b": (2, 3)}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_toml_files(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[fit]\nepochs = 7\n")
    assert compose(config=str(path)).fit.epochs == 7
    assert compose(config=str(path), assignments=["fit.epochs=8"]).fit.epochs == 8
    assert compose(config=str(path), assignments=["fit.epochs=8"], options={"fit": {"epochs": 9}}).fit.epochs == 9
    path.write_text("[fit\n")
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        read_toml(path)
    with pytest.raises(ConfigError, match="does not exist"):
        read_toml(tmp_path / "absent.toml")


def test_unknown_sections_and_presets_are_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"unknown section \[fti\]; did you mean fit\?"):
        compose(assignments=["fti.epochs=3"])
    with pytest.raises(ConfigError, match=r"unknown preset papre; did you mean paper\?"):
        compose(preset="papre")


def test_a_section_of_an_older_version_is_refused_with_its_name_today():
    with pytest.raises(ConfigError, match=r"unknown section \[catalog\]; it is now \[labels\]"):
        compose(assignments=["catalog.min_sn=20"])


def test_a_section_that_is_no_table_is_refused_though_options_follow(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("resources = 3\n")
    with pytest.raises(ConfigError, match=r"\[resources\] must be a table of keys, not 3"):
        compose(config=str(path), options={"resources": {"local": True}})


def test_an_unknown_key_of_a_nested_section_is_refused():
    with pytest.raises(ConfigError, match=r"unknown key simulate\.population\."):
        compose(assignments=["simulate.population.zzz=1"])


def test_every_preset_composes():
    assert {"paper", "demo"} <= set(presets())
    for preset in presets():
        assert isinstance(compose(preset=preset), Settings)


def test_the_preset_of_the_paper():
    settings = compose(preset="paper")
    assert settings.splits.sizes == (30000, 5000, 15000)
    fit, preprocess = settings.fit, settings.preprocess
    assert (fit.batch_size, fit.epochs, fit.copies, fit.members) == (256, 30, 2, 1)
    assert (fit.noise_unit, fit.noise_min, fit.noise_max, fit.fresh_noise) == ("spectrum", 0.01, 0.05, False)
    assert (fit.ripples, fit.label_weights, fit.folds) == (0.0, False, 0)
    assert (fit.learning_rate, fit.weight_decay, fit.huber_delta) == (1e-3, 0.01, 1.0)
    assert (fit.averaging, fit.stem_scale, settings.network.trunk_dropout) == (0.0, 1.0, 0.4)
    assert (preprocess.passes, preprocess.repair_bad_pixels) == ("two", False)
