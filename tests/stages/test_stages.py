"""The stages on a small simulated survey: accounting, resuming, the same rows wherever and however it runs."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from raystellar.cli import main
from raystellar.engine.session import Resources
from raystellar.engine.shards import actors_that_fit
from raystellar.errors import BundleError, ConfigError, LabelTableError, OutputError
from raystellar.labels.splits import SplitConfig
from raystellar.preprocessing.pixels import PreprocessConfig
from raystellar.quality import Flag
from raystellar.schema import CATALOG, DATASET, arrow_schema
from raystellar.stages.label import label
from raystellar.stages.preprocess import preprocess

LOCAL = Resources(local=True, rows_per_shard=7)


def parts(folder):
    return sorted(Path(folder).glob("part-*.parquet"))


def rows(folder):
    table = pa.concat_tables([pq.read_table(part) for part in parts(folder)])
    return table.sort_by("path")


def rejects(folder):
    found = sorted(Path(folder, "_rejects").glob("*.parquet"))
    return pa.concat_tables([pq.read_table(path) for path in found]).sort_by("path").to_pylist() if found else []


def bad_files(folder, survey):
    """Write one file of each kind of damage; return their names."""
    good = next(Path(survey, "spectra").rglob("*.fits")).read_bytes()
    damage = {
        "empty.fits": b"",
        "truncated.fits": good[:60_000],
        "page.fits": b"<html><body>404 Not Found</body></html>",
        "zeros.fits": bytes(len(good)),
        "table.fits": Path(survey, "ssppOut.fits").read_bytes(),
    }
    folder.mkdir()
    for name, content in damage.items():
        (folder / name).write_bytes(content)
    return set(damage)


@pytest.fixture(scope="module")
def dataset(survey, tmp_path_factory):
    out = tmp_path_factory.mktemp("dataset") / "dataset"
    summary = preprocess([f"{survey}/spectra"], f"{survey}/ssppOut.fits", str(out), resources=LOCAL)
    return out, summary


@pytest.fixture(scope="module")
def catalog(survey, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("catalog") / "catalog"
    return out, label([f"{survey}/spectra"], str(model), str(out), resources=LOCAL)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_text_or_a_path_names_a_folder_and_one_folder_needs_no_list(kind, survey, dataset, model, catalog, tmp_path):
    folder = kind(survey / "spectra")  # a text is itself iterable: its letters name no folders
    preprocess(folder, kind(survey / "ssppOut.fits"), kind(tmp_path / "dataset"), resources=LOCAL)
    label([folder] if kind is Path else folder, kind(model), kind(tmp_path / "catalog"), resources=LOCAL)
    assert rows(tmp_path / "dataset").equals(rows(dataset[0]))
    assert rows(tmp_path / "catalog").equals(rows(catalog[0]))


def test_the_dataset_accounts_for_every_file(survey, dataset):
    out, summary = dataset
    files = list(Path(survey, "spectra").rglob("*.fits"))
    table, rejected = rows(out), rejects(out)
    assert table.schema.equals(arrow_schema(DATASET))
    assert len(files) == table.num_rows + len(rejected) == summary.job.accounting.rows_in
    assert {str(path) for path in files} == set(table["path"].to_pylist()) | {row["path"] for row in rejected}
    assert {row["reason"] for row in rejected} >= {"sky fibre", "not in the label table"}
    assert sum(summary.splits.values()) == table.num_rows
    assert summary.splits["train"] > summary.splits["validation"] > 0


def test_labels_and_velocities_are_those_of_the_table(survey, dataset):
    from astropy.table import Table

    sspp = {(row["PLATE"], row["MJD"], row["FIBER"]): row for row in Table.read(Path(survey, "ssppOut.fits"))}
    for row in rows(dataset[0]).drop_columns(["flux", "ivar"]).to_pylist():
        truth = sspp[row["plate"], row["mjd"], row["fiberid"]]
        assert row["teff"] == pytest.approx(truth["TEFF_ADOP"])
        assert row["feh"] == pytest.approx(truth["FEH_ADOP"])
        assert row["logg"] == pytest.approx(truth["LOGG_ADOP"])
        assert row["rv"] == pytest.approx(truth["RV_ADOP"])
        assert row["rv_source"] == "table"


def test_no_star_is_on_both_sides_of_a_split(dataset):
    table = rows(dataset[0])
    pairs = set(zip(table["star_id"].to_pylist(), table["split"].to_pylist(), strict=True))
    assert len(pairs) == len({star for star, _ in pairs})


def test_the_flux_is_standardised(dataset):
    flux = np.array(rows(dataset[0])["flux"].to_pylist())
    np.testing.assert_allclose(flux.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(flux.std(axis=1), 1, atol=1e-5)


def test_rows_do_not_depend_on_shards(survey, dataset, tmp_path):
    preprocess(
        [f"{survey}/spectra"], f"{survey}/ssppOut.fits", str(tmp_path / "d"),
        resources=Resources(local=True, rows_per_shard=1000),
    )  # fmt: skip
    assert len(parts(tmp_path / "d")) == 1 < len(parts(dataset[0]))
    assert rows(tmp_path / "d").equals(rows(dataset[0]))


def test_preprocessed_spectra_are_labelled_as_the_files_they_came_from(survey, dataset, model, tmp_path):
    """Without reading the files again; each file in its own way gives the same flux, and so the same row."""
    labels = f"{survey}/ssppOut.fits"  # the velocities that the dataset was made with
    label([f"{survey}/spectra"], str(model), str(tmp_path / "files"), labels=labels, resources=LOCAL)
    summary = label([str(dataset[0])], str(model), str(tmp_path / "rows"), resources=LOCAL)
    assert summary.job.accounting.rows_in == summary.job.accounting.rows_out == rows(dataset[0]).num_rows
    differ = ["path", "star_id", "is_primary"]  # the last two tell of the whole catalogue
    from_rows = rows(tmp_path / "rows").sort_by("spec_id").drop_columns(differ)
    from_files = rows(tmp_path / "files").sort_by("spec_id").drop_columns(differ)
    known = pc.is_in(from_files["spec_id"], from_rows["spec_id"].combine_chunks())
    assert from_rows.equals(from_files.filter(known))


def test_spectra_preprocessed_otherwise_or_twice_are_rejects(survey, dataset, model, tmp_path):
    once = PreprocessConfig(passes="one")
    places = [f"{survey}/spectra"], f"{survey}/ssppOut.fits"
    preprocess(*places, str(tmp_path / "once"), config=once, resources=LOCAL)
    label([str(tmp_path / "once")], str(model), str(tmp_path / "c"), resources=LOCAL)
    found = rejects(tmp_path / "c")
    assert len(found) == rows(tmp_path / "once").num_rows
    assert {(row["reason"], row["detail"]) for row in found} == {
        ("preprocessed in another way than the model wants", "passes")
    }
    summary = preprocess([str(dataset[0]), places[0][0]], places[1], str(tmp_path / "twice"), resources=LOCAL)
    assert summary.job.accounting.rejected["read: preprocessed already"] == rows(dataset[0]).num_rows


def test_a_finished_job_is_not_done_again(survey, dataset):
    out, _ = dataset
    before = {part: part.stat().st_mtime_ns for part in parts(out)}
    again = preprocess([f"{survey}/spectra"], f"{survey}/ssppOut.fits", str(out), resources=LOCAL)
    assert again.job.resumed_rows == again.job.accounting.rows_in
    assert before == {part: part.stat().st_mtime_ns for part in parts(out)}


def test_another_configuration_is_refused(survey, dataset):
    with pytest.raises(OutputError, match="different: preprocess"):
        preprocess(
            [f"{survey}/spectra"], f"{survey}/ssppOut.fits", str(dataset[0]),
            config=PreprocessConfig(passes="one"), resources=LOCAL,
        )  # fmt: skip


def test_exact_counts(survey, tmp_path):
    summary = preprocess(
        [f"{survey}/spectra"], f"{survey}/ssppOut.fits", str(tmp_path / "d"),
        splits=SplitConfig(train=9, validation=4, test=3), resources=LOCAL,
    )  # fmt: skip
    assert summary.splits == {"train": 9, "validation": 4, "test": 3}
    with pytest.raises(LabelTableError, match="train"):
        preprocess(
            [f"{survey}/spectra"], f"{survey}/ssppOut.fits", str(tmp_path / "e"),
            splits=SplitConfig(train=30000, validation=5000, test=15000), resources=LOCAL,
        )  # fmt: skip


def test_the_catalogue_has_a_row_for_every_spectrum(survey, catalog):
    out, summary = catalog
    files = {str(path) for path in Path(survey, "spectra").rglob("*.fits")}
    table = rows(out)
    assert table.schema.equals(arrow_schema(CATALOG))
    assert set(table["path"].to_pylist()) == files
    assert sum(summary.flagged.values()) == len(files)
    assert set(table["rv_source"].to_pylist()) <= {"pipeline", "none"}


def test_every_row_has_errors(catalog):
    table = rows(catalog[0])
    for name in ("teff", "feh", "logg"):
        errors = table[f"e_{name}"].to_numpy()
        assert np.isfinite(errors).all()
        assert (errors > 0).all()


def test_no_sky_fibre_comes_out_good(catalog, survey):
    truth = {row["path"] for row in pq.read_table(Path(survey, "truth.parquet")).to_pylist()}
    sky = [row for row in rows(catalog[0]).to_pylist() if os.path.relpath(row["path"], survey) not in truth]
    assert len(sky) == 4
    assert all(row["flag_bad"] and row["flags"] & Flag.SKY for row in sky)


def test_velocities_of_a_table_are_preferred(survey, model, tmp_path):
    label([f"{survey}/spectra"], str(model), str(tmp_path / "c"), labels=f"{survey}/ssppOut.fits", resources=LOCAL)
    sources = rows(tmp_path / "c")["rv_source"].to_pylist()
    assert sources.count("table") > sources.count("pipeline") > 0


def test_bad_files_are_rejected_and_cost_nothing_else(survey, model, catalog, tmp_path):
    names = bad_files(tmp_path / "bad", survey)
    label([f"{survey}/spectra", str(tmp_path / "bad")], str(model), str(tmp_path / "c"), resources=LOCAL)
    assert rows(tmp_path / "c").drop_columns("path").equals(rows(catalog[0]).drop_columns("path"))
    rejected = rejects(tmp_path / "c")
    assert {Path(row["path"]).name for row in rejected} == names
    assert {row["stage"] for row in rejected} == {"read"}
    assert all(row["reason"] for row in rejected)


def test_every_real_file_has_one_row_or_one_reject(real_data, model, tmp_path):
    folders = [str(real_data / name) for name in ("sdss_stars", "sdss_other", "sdss_sky")]
    files = {str(path) for folder in folders for path in Path(folder).iterdir()}
    label(folders, str(model), str(tmp_path / "c"), resources=LOCAL)
    table, rejected = rows(tmp_path / "c").to_pylist(), rejects(tmp_path / "c")
    assert sorted([row["path"] for row in table] + [row["path"] for row in rejected]) == sorted(files)
    for row in table:
        if "sdss_sky" in row["path"] or row["object_class"] != "STAR":
            assert row["flag_bad"], row


def test_a_changed_bundle_is_refused(survey, model, tmp_path):
    shutil.copytree(model, tmp_path / "m")
    description = json.loads((tmp_path / "m" / "bundle.json").read_text())
    description["preprocess"]["passes"] = "one"
    (tmp_path / "m" / "bundle.json").write_text(json.dumps(description))
    with pytest.raises(BundleError, match="changed after it was written"):
        label([f"{survey}/spectra"], str(tmp_path / "m"), str(tmp_path / "c"), resources=LOCAL)


def command(*words):
    return [sys.executable, "-m", "raystellar", *map(str, words)]


@pytest.mark.processes
@pytest.mark.parametrize("stage", ["preprocess", "label"])
def test_killed_and_started_again_it_ends_in_the_same_rows(stage, survey, model, dataset, catalog, tmp_path):
    out = tmp_path / "out"
    words = {
        "preprocess": ("preprocess", f"{survey}/spectra", "--labels", f"{survey}/ssppOut.fits"),
        "label": ("label", f"{survey}/spectra", "--model", model),
    }[stage]
    words = command(*words, "--out", out, "--local", "--set", "resources.rows_per_shard=3")
    seen = random.Random(stage).randint(1, 6)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(parts(out)) < seen and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(parts(out))
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert done < len(parts(out))  # it was killed in the middle
    assert rows(out).equals(rows((dataset if stage == "preprocess" else catalog)[0]))


@pytest.mark.ray
def test_ray_makes_the_same_rows(ray_session, survey, model, dataset, catalog, tmp_path):
    on_ray = Resources(rows_per_shard=9, cpus_per_actor=0.5)
    preprocess([f"{survey}/spectra"], f"{survey}/ssppOut.fits", str(tmp_path / "d"), resources=on_ray)
    assert rows(tmp_path / "d").equals(rows(dataset[0]))
    label([f"{survey}/spectra"], str(model), str(tmp_path / "c"), resources=on_ray)
    assert rows(tmp_path / "c").equals(rows(catalog[0]))


@pytest.mark.ray
def test_a_gpu_that_is_not_there(ray_session, survey, model, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    wanted = {"local": "torch sees no GPU here", "ray": "gpus_per_actor = 0.25 and the cluster has 0 GPUs"}
    for where, message in wanted.items():
        resources = Resources(local=where == "local", gpus_per_actor=0.25)
        with pytest.raises(ConfigError, match=message):
            label([f"{survey}/spectra"], str(model), str(tmp_path / where), resources=resources)


def test_actors_fit_on_cpus_and_shares_of_gpus(monkeypatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 16.0, "GPU": 2.0})
    assert actors_that_fit(Resources()) == 16
    assert actors_that_fit(Resources(cpus_per_actor=2)) == 8
    assert actors_that_fit(Resources(gpus_per_actor=0.25)) == 8
    assert actors_that_fit(Resources(gpus_per_actor=2)) == 1
    with pytest.raises(ConfigError, match="lower it"):
        actors_that_fit(Resources(gpus_per_actor=3))


@pytest.mark.ray
def test_an_actor_killed_in_the_middle_changes_nothing(ray_session, survey, dataset, tmp_path):
    """Kill the actors of a running job from outside; Ray starts others, and shards are whole or not there."""
    import threading

    import psutil

    killed = []

    def kill_actors():
        end = time.monotonic() + 300
        while time.monotonic() < end and len(parts(tmp_path / "d")) < 2:
            time.sleep(0.01)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any("MapWorker" in word for word in process.cmdline()):
                    process.kill()
                    killed.append(process.pid)

    killer = threading.Thread(target=kill_actors)
    killer.start()
    preprocess(
        [f"{survey}/spectra"], f"{survey}/ssppOut.fits", str(tmp_path / "d"),
        resources=Resources(rows_per_shard=1, actors=1),
    )  # fmt: skip
    killer.join()
    assert killed
    assert rows(tmp_path / "d").equals(rows(dataset[0]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("label", "{spectra}", "--model", "absent", "--out", "{out}"), "absent is missing"),
        (("label", "absent", "--model", "{model}", "--out", "{out}"), "no such file or folder: absent"),
        (("label", "{spectra}", "--model", "{model}", "--out", "/proc/raystellar"), "cannot be written"),
        (("label", "{spectra}", "--model", "{spectra}", "--out", "{out}"), "bundle.json is not in it"),
        (("preprocess", "{spectra}", "--labels", "{survey}/truth.parquet", "--out", "{model}"), "name a new folder"),
        (("preprocess", "{spectra}", "--labels", "absent.fits", "--out", "{out}"), "absent.fits"),
        (("preprocess", "{spectra}", "--labels", "{spectra}", "--out", "{out}"), "label table"),
        (("train", "{spectra}", "--out", "{out}"), "not a raystellar dataset"),
        (("train", "absent", "--out", "{out}"), "does not exist"),
        (("train", "{spectra}", "--out", "{out}", "--set", "fit.epcohs=3"), "did you mean epochs"),
        (("simulate", "{out}", "--stars", "-3"), "stars = -3"),
        (("simulate", "{out}", "--preset", "papre"), "did you mean paper"),
    ],
)
def test_what_cannot_be_done_ends_in_one_sentence(words, message, survey, model, tmp_path, capsys):
    (tmp_path / "foreign").mkdir()
    places = {"spectra": f"{survey}/spectra", "survey": survey, "model": model, "out": tmp_path / "out"}
    assert main([*(word.format(**places) for word in words), "--local"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"raystellar {words[0]}: ")
    assert message in error


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as end:
        main(["label", "--help"])
    assert end.value.code == 0
    assert "examples:" in capsys.readouterr().out


def test_settings_can_be_shown_without_doing_anything(tmp_path, capsys):
    words = ["preprocess", "absent", "--labels", "absent", "--out", str(tmp_path / "out"), "--show-settings"]
    assert main([*words, "--set", "splits.seed=7"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["seed"] == 7
    assert not (tmp_path / "out").exists()
