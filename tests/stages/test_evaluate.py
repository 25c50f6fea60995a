"""Catalogues and models beside labels that are known otherwise, compared with plain loops over their rows."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markupsafe import Markup
from pagereader import check

import raystellar
from raystellar.cli import main
from raystellar.errors import ConfigError, DatasetError, IncompleteError, InputError
from raystellar.model.bundle_files import load_bundle, save_bundle
from raystellar.report.evaluation import page as page_module
from raystellar.schema import RUN_NAME, SUMMARY_NAME
from raystellar.stages.evaluate import evaluate
from raystellar.targets import TARGET_NAMES

KEY = ("plate", "mjd", "fiberid")


def rows_of(folder):
    parts = sorted(Path(folder).glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def key_of(row):
    return tuple(row[name] for name in KEY)


def usable(row):
    return 4000 <= row["teff"] <= 10000 and row["sn"] >= 10 and 0 <= row["logg"] <= 5 and -4.5 <= row["feh"] <= 1


@pytest.fixture(scope="module")
def truth(survey):
    return {key_of(row): row for row in pq.read_table(survey / "truth.parquet").to_pylist()}


@pytest.fixture(scope="module")
def dataset(model):
    return model.parent / "dataset"


@pytest.fixture
def no_figures(monkeypatch):
    """Leave out the figures, which take most of the time of a page."""
    monkeypatch.setattr(page_module, "inline_svg", lambda *_: Markup("<svg></svg>"))


def edited(labelled, tmp_path, change, name="catalog"):
    """Copy a catalogue with its parts changed; return its folder."""
    out = tmp_path / name
    shutil.copytree(labelled, out)
    for part in out.glob("part-*.parquet"):
        pq.write_table(change(pq.read_table(part)), part)
    return out


def flag_odd_fibres(table, odd=1):
    """Return rows of a catalogue in which those with odd (or with even) fibre numbers are flagged bad."""
    bad = (table["fiberid"].to_numpy() % 2 == odd) | table["flag_bad"].to_numpy()
    return table.set_column(table.schema.get_field_index("flag_bad"), "flag_bad", pa.array(bad))


def mae_of(pairs):
    """Return the mean absolute difference of pairs of rows, by label."""
    return {name: np.mean([abs(row[name] - true[name]) for row, true in pairs]) for name in TARGET_NAMES}


def measured(item):
    return {name: item.labels[name].all.mae for name in TARGET_NAMES}


def test_a_catalogue_is_compared_with_the_truth_of_its_stars(labelled, survey, truth):
    rows = rows_of(labelled)
    bad = [row for row in rows if row["flag_bad"]]
    good = [row for row in rows if not row["flag_bad"]]
    pairs = [(row, truth[key_of(row)]) for row in good if key_of(row) in truth and usable(truth[key_of(row)])]
    result = evaluate(labelled, labels=survey / "truth.parquet")
    (item,) = result.items
    assert (item.kind, item.path, item.stars) == ("catalogue", str(labelled), len(pairs))
    assert vars(item.counts) == {
        "rows": len(rows), "bad": len(bad), "unlabelled": len(good) - len(pairs), "duplicates": 0
    }  # fmt: skip
    assert measured(item) == pytest.approx(mae_of(pairs), rel=1e-6)
    assert (result.label_errors, result.common) == ((), True)
    for name, agreement in item.labels.items():
        z = [(row[name] - true[name]) / row[f"e_{name}"] for row, true in pairs]
        assert agreement.all.z_std == pytest.approx(np.std(z), rel=1e-5)
        assert agreement.range == pytest.approx(np.ptp([true[name] for _, true in pairs]), rel=1e-6)
        assert agreement.ratio == 1.0
    assert any("--dataset" in note for note in result.notes)
    assert any(f"only {len(pairs)} stars" in note for note in result.notes)


def test_a_model_labels_the_validation_rows_of_a_dataset_without_test_rows(model, dataset):
    rows = [row for row in rows_of(dataset) if row["split"] == "validation"]
    flux = np.array([row["flux"] for row in rows], np.float32)
    bundle = load_bundle(model)
    predicted = bundle.predict(flux)
    ivar = np.array([row["ivar"] for row in rows], np.float32)
    _, errors = bundle.predict_with_errors(flux, ivar, np.array([row["sn"] for row in rows]))
    result = evaluate([model], dataset=dataset)
    (item,) = result.items
    assert (item.kind, item.model_id) == ("model", bundle.model_id)
    assert item.counts.rows == len(rows)
    assert item.stars == len(rows) - item.counts.bad > 0
    assert "has no test rows, so its validation rows are compared" in result.notes[0]
    assert result.label_errors == TARGET_NAMES
    if item.counts.bad == 0:
        for t, name in enumerate(TARGET_NAMES):
            difference = predicted[:, t] - [row[name] for row in rows]
            total = np.sqrt(errors[:, t] ** 2 + np.array([row[f"e_{name}"] for row in rows]) ** 2)
            assert item.labels[name].all.mae == pytest.approx(np.abs(difference).mean(), rel=1e-5)
            assert item.labels[name].all.z_std == pytest.approx(np.std(difference / total), rel=1e-4)


def test_items_are_compared_on_the_stars_that_all_have(labelled, survey, truth, tmp_path):
    few = edited(labelled, tmp_path, flag_odd_fibres, "few")

    def pairs(folder, keys=None):
        rows = [row for row in rows_of(folder) if not row["flag_bad"] and key_of(row) in truth]
        rows = [row for row in rows if usable(truth[key_of(row)]) and (keys is None or key_of(row) in keys)]
        return [(row, truth[key_of(row)]) for row in rows]

    shared = {key_of(row) for row, _ in pairs(few)}
    first, second = evaluate([labelled, few], labels=survey / "truth.parquet").items
    assert first.stars == second.stars == len(shared) < len(pairs(labelled))
    assert measured(first) == measured(second) == pytest.approx(mae_of(pairs(labelled, shared)), rel=1e-6)
    own = evaluate([few, labelled], labels=survey / "truth.parquet", own_stars=True)
    assert [item.stars for item in own.items] == [len(shared), len(pairs(labelled))]
    assert not own.common
    ratios = {name: mae_of(pairs(labelled))[name] / mae_of(pairs(few))[name] for name in TARGET_NAMES}
    assert {name: own.items[1].labels[name].ratio for name in TARGET_NAMES} == pytest.approx(ratios, rel=1e-6)


def test_a_catalogue_and_a_model_are_compared_on_one_split(labelled, model, dataset, survey, truth):
    split = {key_of(row): row for row in rows_of(dataset) if row["split"] == "train"}
    good = [row for row in rows_of(labelled) if not row["flag_bad"] and key_of(row) in split]
    result = evaluate([labelled, model], dataset=dataset, split="train")
    catalogue, of_model = result.items
    assert catalogue.counts.rows == len([row for row in rows_of(labelled) if key_of(row) in split])
    assert of_model.counts.rows == len(split)
    if of_model.counts.bad == 0:
        assert catalogue.stars == of_model.stars == len(good)
        assert measured(catalogue) == pytest.approx(mae_of([(row, split[key_of(row)]) for row in good]), rel=1e-5)
    assert any("smaller errors on the stars of its training" in note for note in result.notes)
    against_truth = evaluate([labelled, model], dataset=dataset, split="train", labels=survey / "truth.parquet").items[
        0
    ]
    pairs = [(row, truth[key_of(row)]) for row in good if usable(truth[key_of(row)])]
    assert measured(against_truth) == pytest.approx(mae_of(pairs), rel=1e-5)


def test_another_model_than_that_of_the_dataset_is_noted(model, dataset, tmp_path):
    save_bundle(tmp_path / "other", replace(load_bundle(model), data_hash="0" * 16))
    notes = evaluate([tmp_path / "other"], dataset=dataset).notes
    assert any("was trained on another dataset" in note for note in notes)


def test_the_rows_of_one_spectrum_count_once(labelled, survey, tmp_path):
    whole = evaluate(labelled, labels=survey / "truth.parquet").items[0]
    first = pq.read_table(sorted(labelled.glob("part-*.parquet"))[0])
    row = first.filter(pa.compute.invert(first["flag_bad"])).slice(0, 1)

    def twice(table):
        """Replace the second row of the first part by its first usable row."""
        if not table.equals(first):
            return table
        return pa.concat_tables([row, row, table.slice(2)])

    copy = edited(labelled, tmp_path, twice)
    counts = evaluate(copy, labels=survey / "truth.parquet").items[0].counts
    assert counts.duplicates >= 1
    assert counts.rows == whole.counts.rows


def test_repeats_alone_need_no_labels(labelled, tmp_path):
    copy = edited(labelled, tmp_path, lambda table: table)
    with pytest.raises(InputError, match=r"no labels, and .* pairs of spectra of one star, of which at least 20"):
        evaluate(copy)
    summary = json.loads((copy / SUMMARY_NAME).read_text())
    summary["repeats"]["stars"], summary["repeats"]["rows"] = 30, 60
    (copy / SUMMARY_NAME).write_text(json.dumps(summary))
    result = evaluate(copy, page=tmp_path / "page.html")
    assert result.items[0].pairs == 30
    assert result.items[0].labels == {}
    page = check((tmp_path / "page.html").read_text())
    assert page.sections == ["items", "repeats"]


@pytest.mark.usefixtures("no_figures")
def test_catalogues_and_tables_may_be_on_a_server(labelled, survey):
    memory = fsspec.filesystem("memory")
    memory.put(f"{labelled}/", "memory://evaluated/catalog/", recursive=True)
    memory.put(f"{survey}/truth.parquet", "memory://evaluated/truth.parquet")
    here = evaluate(labelled, labels=survey / "truth.parquet")
    there = evaluate(
        "memory://evaluated/catalog", labels="memory://evaluated/truth.parquet", page="memory://evaluated/page.html"
    )
    assert there.items[0].labels == here.items[0].labels
    check(memory.cat("memory://evaluated/page.html").decode())


def test_the_json_holds_every_number(labelled, survey, tmp_path):
    result = raystellar.evaluate(labelled, labels=survey / "truth.parquet")
    read = json.loads(result.to_json())
    assert read["items"][0]["labels"]["feh"]["all"]["mae"] == result.items[0].labels["feh"].all.mae
    assert read["items"][0]["counts"]["bad"] == result.items[0].counts.bad
    words = ["evaluate", str(labelled), "--labels", f"{survey}/truth.parquet", "--json", str(tmp_path / "numbers.json")]
    assert main([*words, "--quiet"]) == 0
    assert json.loads((tmp_path / "numbers.json").read_text()) == read


def test_the_program_prints_what_the_function_returns(labelled, survey, model, dataset, capsys):
    result = evaluate(labelled, labels=survey / "truth.parquet")
    words = ["evaluate", str(labelled), "--labels", f"{survey}/truth.parquet", "--bins", "--cells"]
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    item = result.items[0]
    assert f"{item.stars} stars, compared with the labels in {survey}/truth.parquet." in said
    assert "z includes the errors of the labels of no parameter." in said
    line = next(
        line.split()
        for line in said[said.index("z includes the errors of the labels of no parameter.") :]
        if line.startswith("catalog ")
    )
    of = item.labels["teff"].all
    assert line[1:4] == ["1.000", str(of.stars), f"{of.mae:.1f}"]
    for name in TARGET_NAMES:
        start = next(number for number, text in enumerate(said) if text.startswith(f"catalog: {name} ["))
        for one, text in zip(item.labels[name].bins, said[start + 1 :], strict=False):
            assert f"{one.statistics.stars}" in text.split()
    assert "no cell has 300 stars" in said
    assert main([*words, "--check"]) == 1  # two epochs are too few
    assert "not as wanted: catalog, " in capsys.readouterr().out
    assert main(["evaluate", str(model), str(labelled), "--dataset", str(dataset), "--split", "train"]) == 0
    said = capsys.readouterr().out
    assert "stars that all items have, compared with the labels in the train split of" in said
    assert "z includes the errors of the labels of teff, feh, logg." in said


@pytest.mark.parametrize("common", [True, False])
def test_the_page_holds_the_tables_of_each_item(labelled, model, dataset, common, tmp_path, no_figures):
    result = evaluate(
        [labelled, model], dataset=dataset, split="train", page=tmp_path / "page.html", own_stars=not common
    )
    page = check((tmp_path / "page.html").read_text())
    assert page.sections == ["items", "errors", "bins", "cells", "item-1", "item-2", "repeats"]
    for item in result.items:
        shown = [row for row in page.rows if row[0] == item.name and len(row) == 14]
        assert [row[1] for row in shown] == [str(item.stars)] * 3
        assert [row[3] for row in shown] == [
            page_module.in_units(item.labels[target.name].all.mae, target) for target in page_module.TARGETS
        ]
    assert ("stars that all items have" in page.text) == common


def test_the_page_shows_the_figures_of_an_item(labelled, survey, tmp_path):
    item = evaluate(labelled, labels=survey / "truth.parquet", page=tmp_path / "page.html").items[0]
    html = (tmp_path / "page.html").read_text()
    page = check(html)
    assert len(html) < 1_000_000
    for label in ("Predicted", "Residuals", "Distribution of z"):
        assert html.count(f'aria-label="{label}"') == 1
    assert "predicted - reference" in page.texts["item-1"]
    assert f"{item.stars}stars compared" in page.texts["header"]


def test_what_cannot_be_compared_is_refused_in_one_sentence(labelled, model, dataset, survey, tmp_path, capsys):
    truth = f"{survey}/truth.parquet"
    other = {"spec_id": ["1-53000-1"], "teff": [5000.0], "feh": [0.0], "logg": [4.0]}
    pq.write_table(pa.table(other), tmp_path / "other.parquet")
    cases = [
        ({"items": []}, ConfigError, "there is nothing to evaluate"),
        ({"items": tmp_path / "none"}, InputError, "does not exist; name a folder written by raystellar label or"),
        ({"items": dataset}, InputError, "is a dataset; name a folder written by"),
        ({"items": model}, ConfigError, r"is a model, and there are no spectra that it could label; .* \(--dataset\)"),
        ({"items": labelled, "split": "test"}, ConfigError, "is a split of a dataset; name the dataset"),
        ({"items": labelled, "split": "tests", "dataset": dataset}, ConfigError, "'tests' is none of train"),
        ({"items": model, "split": "test", "dataset": dataset}, DatasetError, "has no row of split test .*--split"),
        ({"items": model, "dataset": labelled}, DatasetError, "is not a raystellar dataset"),
        ({"items": labelled, "labels": tmp_path / "none.csv"}, InputError, "label table .* does not exist"),
        (
            {"items": labelled, "labels": tmp_path / "other.parquet"},
            InputError,
            "no star to compare: .* no usable label",
        ),
    ]
    for options, kind, message in cases:
        with pytest.raises(kind, match=message) as raised:
            evaluate(**options)
        assert "\n" not in str(raised.value)
    assert main(["evaluate", str(labelled), "--labels", truth, "--page", f"{labelled}/_run.json/page.html"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["evaluate", str(model)]) == 1


def test_a_catalogue_that_lacks_a_column_or_a_part_is_refused(labelled, survey, tmp_path):
    copy = edited(labelled, tmp_path, lambda table: table.drop_columns(["e_feh"]))
    with pytest.raises(InputError, match="has no column e_feh; label the spectra again"):
        evaluate(copy, labels=survey / "truth.parquet")
    (copy / "part-00001.parquet").unlink()
    with pytest.raises(IncompleteError, match="run the same raystellar label command again"):
        evaluate(copy, labels=survey / "truth.parquet")


def test_catalogues_without_a_common_star_are_refused(labelled, survey, tmp_path):
    folders = [edited(labelled, tmp_path, partial(flag_odd_fibres, odd=odd), f"half-{odd}") for odd in (0, 1)]
    with pytest.raises(InputError, match=r"have no star with labels in common; .*--own-stars"):
        evaluate(folders, labels=survey / "truth.parquet")


def test_a_dataset_of_other_settings_or_without_a_column_is_refused(model, dataset, tmp_path):
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    run = json.loads((copy / RUN_NAME).read_text())
    (copy / RUN_NAME).write_text(json.dumps(run | {"preprocess": run["preprocess"] | {"max_abs_rv": 1.0}}))
    with pytest.raises(DatasetError, match="has other settings of preprocessing than model"):
        evaluate(model, dataset=copy)
    (copy / RUN_NAME).write_text(json.dumps(run))
    part = next(copy.glob("part-*.parquet"))
    pq.write_table(pq.read_table(part).drop_columns(["ivar"]), part)
    with pytest.raises(DatasetError, match="has no column ivar; make the dataset again"):
        evaluate(model, dataset=copy)
