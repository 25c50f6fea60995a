"""The pages of catalogues and models: what they say, what they tolerate, and what is refused."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markupsafe import Markup
from pagereader import check

from raystellar.catalog.finished import open_catalog
from raystellar.cli import main
from raystellar.engine.session import Resources
from raystellar.errors import ConfigError, InputError
from raystellar.files import places
from raystellar.model.bundle_files import load_bundle
from raystellar.quality import BAD, MEANINGS, Flag
from raystellar.report import assessment
from raystellar.report import model as model_page
from raystellar.report import write as pages
from raystellar.report.catalog import gallery_page
from raystellar.report.catalog import page as catalog_page_module
from raystellar.report.catalog.census import READ, SHOWN, take
from raystellar.report.write import try_page, write_page
from raystellar.spectra import read_spectrum
from raystellar.stages.label import label
from raystellar.targets import TARGET_NAMES

CATALOG_SECTIONS = [
    "kiel", "sky", "errors", "calibration", "flags", "rejects", "distributions", "repeats", "best", "worst", "ood",
]  # fmt: skip
MODEL_SECTIONS = [
    "architecture", "curves", "validation", "calibration", "residuals", "saliency", "ood", "provenance",
]  # fmt: skip


def rows_of(folder):
    return pa.concat_tables(pq.read_table(part) for part in sorted(Path(folder).glob("part-*.parquet")))


def copy(labelled, tmp_path, change=lambda table: table):
    """Copy a catalogue, with its parts changed; return its folder."""
    out = tmp_path / "catalog"
    shutil.copytree(labelled, out)
    for part in out.glob("part-*.parquet"):
        pq.write_table(change(pq.read_table(part)), part)
    return out


def read(path):
    return check(Path(path).read_text())


def number(text):
    return int(text.replace("\u202f", ""))


@pytest.fixture
def no_figures(monkeypatch):
    """Leave out the figures, which take most of the time of a page."""
    for module in (assessment, gallery_page, model_page, catalog_page_module):
        monkeypatch.setattr(module, "inline_svg", lambda *_: Markup("<svg></svg>"))


@pytest.fixture(scope="module")
def catalog_page(labelled, survey, tmp_path_factory):
    out = tmp_path_factory.mktemp("pages") / "page.html"
    summary = write_page(str(labelled), str(out), truth=f"{survey}/truth.parquet")
    assert (summary.out, summary.kind, summary.bytes) == (str(out), "catalog", out.stat().st_size)
    assert summary.bytes < 2_000_000
    return read(out)


def test_the_page_of_a_catalogue_has_every_section_and_its_numbers(labelled, catalog_page):
    table = rows_of(labelled)
    assert catalog_page.sections == CATALOG_SECTIONS
    warn, bad, flags = (table[name].to_numpy() for name in ("flag_warn", "flag_bad", "flags"))
    header = catalog_page.texts["header"]
    for count, words in (
        (len(table), f"rows of {len(table) + 2} spectra"),
        (2, "rejected"),
        ((~warn & ~bad).sum(), "good: without a flag"),
        ((warn & ~bad).sum(), "warn"),
        (bad.sum(), "bad: not to be used"),
    ):
        assert f"{count}{words}" in header
    assert json.loads((labelled / "_run.json").read_text())["model"] in header
    assert f"spectra a second, measured on {len(table) + 2 - 7} spectra after the first shard" in header
    found = {
        row[1]: (row[2], number(row[3])) for row in catalog_page.rows if len(row) == 6 and row[1] in Flag.__members__
    }
    assert found == {
        flag.name: (
            "bad" if flag in BAD else "warn",
            ((flags & flag) != 0).sum(),
        )
        for flag in Flag
    }
    rejects = rows_of(labelled / "_rejects").to_pylist()
    shown = [(row[0], row[1], row[3]) for row in catalog_page.rows if row[-1] in {reject["path"] for reject in rejects}]
    assert sorted(shown) == sorted((reject["stage"], reject["reason"], reject["path"]) for reject in rejects)


def test_its_scores_are_those_of_the_truth(labelled, survey, catalog_page):
    table = rows_of(labelled)
    truth = {(r["plate"], r["mjd"], r["fiberid"]): r for r in pq.read_table(survey / "truth.parquet").to_pylist()}
    pairs = []
    for row in table.to_pylist():
        true = truth.get((row["plate"], row["mjd"], row["fiberid"]))  # none of a sky fibre
        usable = true and 4000 <= true["teff"] <= 10000 and true["sn"] >= 10 and 0 <= true["logg"] <= 5
        if usable and not row["flags"]:
            pairs.append([(row[name] - true[name], row[f"e_{name}"]) for name in TARGET_NAMES])
    difference, error = np.moveaxis(np.array(pairs), 2, 0)
    assert f"{len(pairs)} rows without a flag" in catalog_page.texts["calibration"]
    std = np.sqrt(((difference / error) ** 2).mean(axis=0))
    shown = [row for row in catalog_page.rows if row[0] == "all"]
    assert [row[1:3] for row in shown] == [[str(len(pairs)), f"{value:.3f}"] for value in std]
    mae = np.abs(difference).mean(axis=0)
    assert f"{mae[0]:.0f}\u202fK" in catalog_page.texts["calibration"]
    assert f"{mae[1]:.3f}\u202fdex" in catalog_page.texts["calibration"]


def test_its_gallery_shows_the_rows_that_stand_out(labelled, catalog_page):
    rows = rows_of(labelled).to_pylist()
    best = sorted((row for row in rows if not row["flags"]), key=lambda row: -row["sn"])[:4]
    positions = [catalog_page.texts["best"].index(row["spec_id"]) for row in best]
    assert positions == sorted(positions)
    for row in best:
        assert f"{row['teff']:.0f}\u202fK ± {row['e_teff']:.0f}\u202fK" in catalog_page.texts["best"]
        assert row["path"] in catalog_page.texts["best"]
    assert "Hβ" in catalog_page.texts["best"]
    assert "cannot be shown" not in catalog_page.texts["best"] + catalog_page.texts["worst"]
    stars = [row for row in rows if not row["flags"] & (Flag.SKY | Flag.NOT_STAR)]
    for row in sorted(stars, key=lambda row: -row["ood_score"])[:4]:
        assert row["spec_id"] in catalog_page.texts["ood"]


@pytest.mark.usefixtures("no_figures")
def test_spectra_are_read_again_as_they_were_labelled(labelled, model, monkeypatch):
    seen = []
    monkeypatch.setattr(pages, "response_of", lambda bundle, flux: seen.append(flux))
    write_page(str(labelled), f"{labelled}.html")
    bundle, catalog = load_bundle(model), open_catalog(str(labelled))
    picks = take(catalog.output.parts(list(READ))).picks
    rows = [pick.row for kind in ("best", "worst", "ood") for pick in picks[kind].rows]
    assert len(seen) == len(rows) > 4
    labels = [[row[name] for name in TARGET_NAMES] for row in rows]
    np.testing.assert_allclose(bundle.predict(np.array(seen)), labels, rtol=1e-5)  # rv was rounded to float32


@pytest.mark.usefixtures("no_figures")
def test_the_page_names_files_that_are_gone(labelled, tmp_path):
    def move(table):
        paths = [path.replace("/spec-", "/gone-") for path in table["path"].to_pylist()]
        return table.set_column(table.schema.get_field_index("path"), "path", pa.array(paths))

    out = copy(labelled, tmp_path, move)
    assert main(["report", str(out)]) == 0
    page = read(out / "_report.html")
    assert page.sections == CATALOG_SECTIONS
    assert page.texts["best"].count("The spectrum cannot be shown: not found.") == 4


@pytest.mark.usefixtures("no_figures")
def test_without_its_model_spectra_are_shown_and_responses_are_not(labelled, tmp_path):
    out = copy(labelled, tmp_path)
    (out / "_job.json").write_text(json.dumps({"model": str(tmp_path / "gone")}))
    write_page(str(out))
    page = read(out / "_report.html")
    assert "The response of the labels to weak lines cannot be shown" in page.texts["best"]
    assert "--model" in page.texts["best"]
    assert "calibration" not in page.sections
    (out / "_job.json").write_text("{")
    write_page(str(out))
    assert "its model is not known; name it with --model" in read(out / "_report.html").texts["best"]


def test_catalogues_of_later_and_of_earlier_versions_are_drawn(labelled, tmp_path):
    def later(table):
        return table.append_column("e_rv", pa.array(np.arange(len(table), dtype=np.float32)))

    out = copy(labelled, tmp_path, later)
    repeats = {"stars": 3, "rows": 7, "teff": {"scatter": 31.4, "unit": "K", "pull": 0.87}, "feh": {"scatter": None}}
    (out / "_summary.json").write_text(json.dumps({"stars": 23, "repeats": repeats}))
    write_page(str(out))
    page = read(out / "_report.html")
    assert "23stars" in page.texts["header"]
    assert "OOD score" in page.texts["distributions"]
    assert ["Teff", "31\u202fK", "0.87", "unknown"] in page.rows
    assert page.texts["ood"].count("OOD score") > 4

    shutil.rmtree(out)
    out = copy(
        labelled,
        tmp_path,
        lambda table: table.drop_columns(["is_primary", "ood_score", *(f"e_{name}" for name in TARGET_NAMES)]),
    )
    write_page(str(out))
    page = read(out / "_report.html")
    assert page.sections == [name for name in CATALOG_SECTIONS if name not in ("errors", "worst", "ood")]


@pytest.mark.usefixtures("no_figures")
def test_a_catalogue_of_rejects_alone_has_a_page(model, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.fits").write_bytes(b"")
    out = str(tmp_path / "catalog")
    words = ["label", str(tmp_path), "--model", str(model), "--out", out, "--local"]
    assert main(words) == 0
    page = read(f"{out}/_report.html")
    assert page.sections == ["calibration", "rejects"]
    assert "0rows of 2 spectra" in page.texts["header"]
    assert ["read", "empty file", "2"] in [row[:3] for row in page.rows]


@pytest.mark.usefixtures("no_figures")
def test_label_leaves_a_page_unless_told_not_to(survey, model, tmp_path, capsys):
    path = str(next((survey / "spectra").iterdir()))
    words = ["label", path, "--model", str(model), "--local", "--out"]
    assert main([*words, f"{tmp_path}/one"]) == 0
    assert f"page: {tmp_path}/one/_report.html" in capsys.readouterr().out
    read(tmp_path / "one" / "_report.html")
    assert main([*words, f"{tmp_path}/two", "--no-report"]) == 0
    assert not (tmp_path / "two" / "_report.html").exists()
    before = (tmp_path / "one" / "_report.html").stat().st_mtime_ns
    assert main([*words, f"{tmp_path}/one"]) == 0  # and is no hindrance to going on
    assert (tmp_path / "one" / "_report.html").stat().st_mtime_ns == before  # nor drawn anew where nothing was done


def test_a_page_that_fails_does_not_fail_the_job(survey, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pages, "take", lambda *_: 1 / 0)
    path = str(next((survey / "spectra").iterdir()))
    assert main(["label", path, "--model", str(model), "--local", "--out", f"{tmp_path}/catalog"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "no page" in line]
    assert told == [f"raystellar label: {tmp_path}/catalog has no page: division by zero"]
    assert try_page(str(tmp_path)) is None


def test_the_seconds_of_a_job_that_was_resumed_add_up(survey, model, tmp_path):
    out, resources = tmp_path / "catalog", Resources(local=True, rows_per_shard=7)
    label([f"{survey}/spectra"], str(model), str(out), resources=resources)
    first = json.loads((out / "_job.json").read_text())
    assert first["spectra"] == 44 - 7  # without the first shard, which pays for the start
    label([f"{survey}/spectra"], str(model), str(out), resources=resources)
    assert json.loads((out / "_job.json").read_text()) == first
    (out / "part-00002.parquet").unlink()
    label([f"{survey}/spectra"], str(model), str(out), resources=resources)
    second = json.loads((out / "_job.json").read_text())
    assert (second["spectra"], second["seconds"]) == (first["spectra"], first["seconds"])  # one shard has no rate


@pytest.mark.parametrize("given", [True, False])
def test_the_page_of_a_model_has_every_section_and_its_numbers(model, tmp_path, given):
    bundle, out = load_bundle(model), tmp_path / "page.html"
    words = ["--dataset", str(model.parent / "dataset")] if given else []
    assert main(["report", str(model), "--out", str(out), *words]) == 0
    page = read(out)
    assert page.sections == [name for name in MODEL_SECTIONS if given or name not in ("residuals", "saliency")]
    assert bundle.model_id in page.texts["header"]
    for target, unit, digits in (("teff", "K", 0), ("feh", "dex", 3), ("logg", "dex", 3)):
        assert f"{bundle.validation[target]['mae']:.{digits}f}\u202f{unit}" in page.texts["validation"]
        assert f"{bundle.calibration[target]['std']:.3f}" in page.texts["calibration"]
    assert ("name a dataset with raystellar report --dataset" in page.texts["header"]) != given
    assert [row[2] for row in page.rows if row[0] == "all"] == [f"{x['std']:.3f}" for x in bundle.calibration.values()]
    assert len([row for row in page.rows if row[0] == "log g"]) == 1  # each error is in one table
    if given:
        assert "Hα" in page.texts["saliency"]


def test_the_calibration_of_a_bundle_is_measured_again_on_its_dataset(model):
    bundle = load_bundle(model)
    examined = pages.examine(bundle, str(model.parent / "dataset"))
    assert examined.same
    again = examined.residuals.calibration()
    for name, shares in bundle.calibration.items():
        assert [again[name][key] for key in ("stars", "std", "within68", "within95")] == pytest.approx(
            [shares[key] for key in ("stars", "std", "within68", "within95")]
        )
    for t, name in enumerate(TARGET_NAMES):
        assert examined.residuals.errors(t)["mae"] == pytest.approx(bundle.validation[name]["mae"], rel=1e-5)


@pytest.mark.usefixtures("no_figures")
def test_train_leaves_a_page_in_a_bundle_that_stays_one(survey, model, tmp_path):
    dataset, out = str(model.parent / "dataset"), tmp_path / "model"
    words = ["train", dataset, "--out", str(out), "--local", "--set", "fit.epochs=2", "--set", "fit.least_steps=0"]
    assert main([*words, "--no-report"]) == 0
    assert not (out / "_report.html").exists()
    assert main(words) == 0
    page = read(out / "_report.html")
    assert load_bundle(out).model_id in page.texts["header"]
    assert "cannot" not in page.texts["saliency"]
    assert main([*words, "--set", "fit.seed=1", "--overwrite"]) == 0
    assert load_bundle(out).model_id in read(out / "_report.html").texts["header"]


def test_a_folder_that_is_neither_is_refused_in_a_sentence(survey, model, labelled, tmp_path, capsys):
    for folder, words in (
        (tmp_path, "neither a catalogue nor a model"),
        (tmp_path / "none", "does not exist"),
        (model.parent / "dataset", "is a dataset; name"),
    ):
        assert main(["report", str(folder)]) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"raystellar report: {folder} ")
        assert words in line
    with pytest.raises(ConfigError, match="--dataset"):
        write_page(str(labelled), dataset="dataset")
    with pytest.raises(ConfigError, match="--truth"):
        write_page(str(model), truth="truth.parquet")
    with pytest.raises(InputError, match="is missing"):
        write_page(str(labelled), model=str(tmp_path))


@pytest.mark.usefixtures("no_figures")
def test_the_model_that_is_named_must_be_that_of_the_catalogue(labelled, model, tmp_path):
    out = copy(labelled, tmp_path)
    run = json.loads((out / "_run.json").read_text())
    (out / "_run.json").write_text(json.dumps(run | {"model": "another"}))
    with pytest.raises(InputError, match="but model another made the catalogue"):
        write_page(str(out), model=str(model))
    write_page(str(out))
    assert "model another made the catalogue" in read(out / "_report.html").texts["best"]


def test_every_flag_has_a_meaning():
    assert set(MEANINGS) == set(Flag)


@pytest.mark.usefixtures("no_figures")
def test_spectra_of_a_file_of_many_are_found_again(survey, model, tmp_path):
    paths = sorted((survey / "spectra").rglob("spec-*.fits"))
    rows = [asdict(read_spectrum(str(path))) for path in paths]
    names = [name for name in rows[0] if name not in ("path", "spec_id", "is_sky", "note")]
    pq.write_table(pa.table({name: [row[name] for row in rows] for name in names}), tmp_path / "spectra.parquet")
    out = tmp_path / "catalog"
    label([str(tmp_path / "spectra.parquet")], str(model), str(out), resources=Resources(local=True, rows_per_shard=7))
    assert len(list(out.glob("part-*.parquet"))) > 5
    write_page(str(out))
    page = read(out / "_report.html")
    assert page.texts["worst"].count("S/N") >= 4
    assert "cannot be shown" not in page.texts["best"] + page.texts["worst"]


@pytest.mark.usefixtures("no_figures")
def test_a_catalogue_on_a_server_has_a_page_there(labelled):
    for path in (path for path in labelled.rglob("*") if path.is_file()):
        places.write_bytes(f"memory://page/{path.relative_to(labelled)}", path.read_bytes())
    assert write_page("memory://page").out == "memory://page/_report.html"
    assert check(places.read_bytes("memory://page/_report.html").decode()).sections == CATALOG_SECTIONS


def test_texts_of_a_catalogue_are_escaped(labelled, tmp_path):
    text = '<b>&"x'

    def change(table):
        for name in ("path", "spec_id", "subclass"):
            table = table.set_column(table.schema.get_field_index(name), name, pa.array([text] * len(table)))
        return table

    out = copy(labelled, tmp_path, change)
    run = json.loads((out / "_run.json").read_text())
    (out / "_run.json").write_text(json.dumps(run | {"model": text, "created": text}))
    for part in (out / "_rejects").glob("*.parquet"):
        rejects = pq.read_table(part)
        texts = pa.array([text] * len(rejects))
        for name in ("stage", "reason", "path"):
            rejects = rejects.set_column(rejects.schema.get_field_index(name), name, texts)
        pq.write_table(rejects, part)
    write_page(str(out))
    html = (out / "_report.html").read_text()
    assert text not in html
    page = read(out / "_report.html")
    assert page.texts["header"].count(text) == 2
    assert page.texts["best"].count(text) == 3 * SHOWN + 1  # and the model, which is not the one noted
    assert [row[:2] + row[3:] for row in page.rows if row[0] == text] == [[text, text, text]]


def test_the_contents_name_every_section_and_the_ood_score_is_explained_once(catalog_page):
    assert catalog_page.links == [f"#{name}" for name in CATALOG_SECTIONS]
    assert catalog_page.text.count("out-of-distribution score") == 1
    assert catalog_page.text.count("standard deviation (std) of z is 1.05") == 1
    assert catalog_page.text.count("Good labels rest on named lines") == 1
