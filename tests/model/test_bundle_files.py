"""The folder of a model bundle: written whole, read again, and refused where it is damaged."""

import json
import os

import numpy as np
import ooddata
import pytest
from bundles import NETWORK, make

from raystellar.errors import BundleError, OutputError
from raystellar.model.bundle_files import load_bundle, read_description, save_bundle
from raystellar.schema import BUNDLE_NAME, OOD_NAME, WEIGHTS_NAME


@pytest.fixture
def saved(tmp_path):
    save_bundle(tmp_path / "model", make())
    return tmp_path / "model"


def edit(path, **changes):
    content = json.loads((path / BUNDLE_NAME).read_text())
    (path / BUNDLE_NAME).write_text(json.dumps({**content, **changes}))


def test_a_bundle_comes_back_as_it_was_saved(saved):
    bundle, again = make(), load_bundle(saved)
    assert again.model_id == bundle.model_id
    assert sorted(entry.name for entry in saved.iterdir()) == [BUNDLE_NAME, WEIGHTS_NAME]
    assert list(saved.parent.iterdir()) == [saved]  # nothing temporary is left
    names = ("network", "preprocess", "centre", "scale", "label_ranges", "data_hash", "versions", "seed")
    for name in (*names, "errors", "calibration", "best_epochs", "members"):
        assert getattr(again, name) == getattr(bundle, name)
    assert again.grid == {"start": 3.5754, "stop": 3.967, "n": 40}
    assert again.history[0][0]["train_loss"] is None
    flux = np.random.default_rng(0).standard_normal((20, 40), dtype=np.float32)
    assert np.array_equal(again.predict(flux), bundle.predict(flux))
    spectra = (flux, np.full((20, 5), 50.0), np.full(20, 30.0))
    for array, expected in zip(again.predict_with_errors(*spectra), bundle.predict_with_errors(*spectra), strict=True):
        assert np.array_equal(array, expected)


def test_an_older_bundle_is_replaced_and_nothing_else(saved, tmp_path):
    save_bundle(saved, make(seed=1))
    assert load_bundle(saved).seed == 1
    assert list(tmp_path.iterdir()) == [saved]
    (tmp_path / "thesis").mkdir()
    save_bundle(tmp_path / "thesis", make())  # an empty folder is no loss
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="not a model bundle"):
        save_bundle(tmp_path / "other", make())
    assert (tmp_path / "other" / "thesis.tex").exists()


def test_a_failed_rename_puts_the_older_bundle_back(saved, monkeypatch):
    rename, calls = os.rename, []

    def fail_second(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError("disk on fire")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_second)
    with pytest.raises(OutputError, match="disk on fire"):
        save_bundle(saved, make(seed=1))
    assert load_bundle(saved).seed == 0


def test_a_missing_bundle_or_file_is_named(tmp_path, saved):
    with pytest.raises(BundleError, match=r"^model bundle \S+ is missing: there is no such folder; make it"):
        load_bundle(tmp_path / "nowhere")
    (saved / WEIGHTS_NAME).unlink()
    with pytest.raises(BundleError, match=f"{WEIGHTS_NAME} is not in it"):
        load_bundle(saved)


def test_the_description_needs_no_weights(saved):
    (saved / WEIGHTS_NAME).unlink()
    assert read_description(saved)["model_id"] == make().model_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format 99 .* reads format 5"),
        ({"format": 4}, "format 4 .* reads format 5; train the model again"),
        ({"errors": {"low": [1.0]}}, "has an invalid value"),
        ({"targets": [{"name": "teff", "unit": "K"}]}, "train it again"),
        ({"grid": {"start": 3.5, "stop": 3.967, "n": 40}}, "names the grid"),
        ({"preprocess": {"future": 1}}, "unknown key preprocess.future"),
        ({"scale": [1.0, 1.0]}, "scaler has 2 targets"),
        ({"scale": [1.0, 1.0, 2.0]}, "changed after it was written"),
        ({"scale": None}, "has an invalid value"),
        ({"network": {"depth": 3}}, "unknown key network.depth"),
        ({"weights_sha256": "0" * 64}, "are not those that"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused_with_the_reason(saved, changes, message):
    edit(saved, **changes)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(saved)
    assert str(saved) in str(caught.value)


def test_a_damaged_description_is_refused(saved):
    content = json.loads((saved / BUNDLE_NAME).read_text())
    del content["centre"]
    (saved / BUNDLE_NAME).write_text(json.dumps(content))
    with pytest.raises(BundleError, match="lacks centre"):
        load_bundle(saved)
    (saved / BUNDLE_NAME).write_text("{")
    with pytest.raises(BundleError, match="not JSON"):
        load_bundle(saved)
    (saved / BUNDLE_NAME).write_text("[]")
    with pytest.raises(BundleError, match="not a table"):
        load_bundle(saved)


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: data[:-4] + b"\0\0\0\1", lambda data: b""])
def test_damaged_weights_are_refused(saved, damage):
    data = (saved / WEIGHTS_NAME).read_bytes()
    (saved / WEIGHTS_NAME).write_bytes(damage(data))
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(saved)


@pytest.fixture
def scored(tmp_path):
    ood = ooddata.make(pixels=NETWORK.n_pixels)
    save_bundle(tmp_path / "scored", make(ood=ood, ood_check={"above": 0.01}))
    return tmp_path / "scored"


def test_the_ood_score_comes_back_and_is_part_of_the_identity(scored):
    again, before = load_bundle(scored), ooddata.make(pixels=NETWORK.n_pixels)
    assert all(np.array_equal(array, getattr(before, name)) for name, array in again.ood.arrays().items())
    assert again.ood_check == {"above": 0.01}
    assert again.model_id == make(ood=before).model_id != make().model_id


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: data[:-4] + b"\0\0\0\1", lambda data: b""])
def test_a_damaged_ood_score_is_refused(scored, damage):
    data = (scored / OOD_NAME).read_bytes()
    (scored / OOD_NAME).write_bytes(damage(data))
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(scored)


def test_an_ood_score_that_is_missing_or_of_another_size_is_refused(scored, tmp_path):
    save_bundle(tmp_path / "wide", make(ood=ooddata.make()))
    with pytest.raises(BundleError, match="is for 4000 pixels, not 40"):
        load_bundle(tmp_path / "wide")
    (scored / OOD_NAME).unlink()
    with pytest.raises(BundleError, match=f"{OOD_NAME} is not in it"):
        load_bundle(scored)


def test_weights_of_another_shape_are_refused(tmp_path):
    bundle = make()
    weights = {**bundle.weights, "members.0.trunks.0.0.weight": np.zeros((16, 41), np.float32)}
    save_bundle(tmp_path / "model", make(weights=weights))
    with pytest.raises(BundleError, match=r"do not fit its architecture .*16, 41"):
        load_bundle(tmp_path / "model")
