"""The model bundle: round trip, and each refusal."""

import dataclasses
import json
from dataclasses import replace

import numpy as np
import ooddata
import pytest

from raystellar.errors import BundleError, OutputError
from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle import Bundle
from raystellar.model.bundle_files import load_bundle, read_description, save_bundle
from raystellar.model.errormodel import ErrorModel
from raystellar.model.network import StellarNet, joined
from raystellar.preprocess.pixels import PreprocessConfig
from raystellar.schema import BUNDLE_NAME, OOD_NAME, WEIGHTS_NAME

NETWORK = NetworkConfig(n_pixels=40, stem=16, blocks=(8,))
ERRORS = ErrorModel(
    low=(1.0, -1.0, -2.0, -2.0, *(-9.0,) * 6),
    high=(2.0, 2.0, 1.0, 1.0, *(-3.0,) * 6),
    weights=tuple(tuple(-3.0 - t + 0.01 * k for k in range(21)) for t in range(3)),
    floor=(0.02, 0.03, 0.05),
)


def make(seed=0, **changes):
    members = [
        {name: tensor.numpy().copy() for name, tensor in StellarNet(NETWORK, seed + m).state_dict().items()}
        for m in range(2)
    ]
    values = {
        "network": NETWORK,
        "weights": joined(members),
        "preprocess": PreprocessConfig(passes="two"),
        "centre": (5800.0, -0.7, 4.1),
        "scale": (900.0, 0.8, 0.6),
        "errors": ERRORS,
        "calibration": {"teff": {"std": 1.0, "quartiles": [{"sn": [10.0, 20.0], "std": None}]}},
        "label_ranges": {"teff": (4003.5, 9186.6), "feh": (-4.38, 0.74), "logg": (0.18, 4.93)},
        "history": [[{"epoch": 1, "train_loss": float("nan"), "validation_loss": 0.1}]] * 2,
        "best_epochs": (1, 1),
        "data_hash": "0123456789abcdef",
        "seed": seed,
    }
    return Bundle(**{**values, **changes})


@pytest.fixture
def saved(tmp_path):
    save_bundle(tmp_path / "model", make())
    return tmp_path / "model"


def edit(path, **changes):
    content = json.loads((path / BUNDLE_NAME).read_text())
    (path / BUNDLE_NAME).write_text(json.dumps({**content, **changes}))


def test_round_trip(saved):
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
    np.testing.assert_allclose(again.predict(flux[:3]), bundle.predict(flux)[:3], rtol=1e-6)
    given = (flux, np.full((20, 5), 50.0), np.full(20, 30.0))
    (labels, errors), expected = again.predict_with_errors(*given), bundle.predict_with_errors(*given)
    assert np.array_equal(labels, again.predict(flux))
    assert np.array_equal(errors, expected[1])


def test_a_bundle_without_errors_says_so(tmp_path):
    save_bundle(tmp_path / "model", make(errors=None))
    again = load_bundle(tmp_path / "model")
    with pytest.raises(BundleError, match="without errors of its predictions; train it again"):
        again.predict_with_errors(np.zeros((1, 40)), np.zeros((1, 5)), np.zeros(1))


def test_predictions_are_physical():
    bundle = make(centre=(5000.0, -1.0, 4.0), scale=(0.0, 0.0, 0.0))
    assert np.array_equal(bundle.predict(np.ones((2, 40), np.float32)), [[5000.0, -1.0, 4.0]] * 2)
    with pytest.raises(ValueError, match=r"\(n, 40\)"):
        bundle.predict(np.ones((2, 41), np.float32))


def test_identity_is_what_decides_predictions():
    bundle = make()
    assert make(created="2020-01-01T00:00:00+00:00", history=[], config={"a": 1}).model_id == bundle.model_id
    noisier = dataclasses.replace(ERRORS, low=(1.1, *ERRORS.low[1:]))
    others = make(seed=1), make(scale=(901.0, 0.8, 0.6)), make(preprocess=replace(bundle.preprocess, passes="one"))
    for other in (*others, make(errors=noisier)):
        assert other.model_id != bundle.model_id
    assert dataclasses.replace(bundle, weights=dict(reversed(bundle.weights.items()))).model_id == bundle.model_id


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
    import os

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


def test_missing(tmp_path, saved):
    with pytest.raises(BundleError, match=r"^model bundle \S+ is missing: there is no such folder; make it"):
        load_bundle(tmp_path / "nowhere")
    (saved / WEIGHTS_NAME).unlink()
    with pytest.raises(BundleError, match=f"{WEIGHTS_NAME} is not in it"):
        load_bundle(saved)


def test_describe_needs_no_weights(saved):
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
def test_refusals(saved, changes, message):
    edit(saved, **changes)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(saved)
    assert str(saved) in str(caught.value)


def test_damage(saved):
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
def test_damaged_weights(saved, damage):
    data = (saved / WEIGHTS_NAME).read_bytes()
    (saved / WEIGHTS_NAME).write_bytes(damage(data))
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(saved)


@pytest.fixture
def scored(tmp_path):
    ood = ooddata.make(pixels=NETWORK.n_pixels)
    save_bundle(tmp_path / "scored", make(ood=ood, ood_check={"above": 0.01}))
    return tmp_path / "scored"


def test_the_score_of_ood_comes_back_and_is_part_of_the_identity(scored):
    again, before = load_bundle(scored), ooddata.make(pixels=NETWORK.n_pixels)
    assert all(np.array_equal(array, getattr(before, name)) for name, array in again.ood.arrays().items())
    assert again.ood_check == {"above": 0.01}
    assert again.model_id == make(ood=before).model_id != make().model_id
    assert make(ood=ooddata.make(1, pixels=NETWORK.n_pixels)).model_id != again.model_id
    assert np.isnan(make().ood_score(np.zeros((2, 40)), np.ones((2, 5)))).all()


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: data[:-4] + b"\0\0\0\1", lambda data: b""])
def test_a_damaged_score_is_refused(scored, damage):
    data = (scored / OOD_NAME).read_bytes()
    (scored / OOD_NAME).write_bytes(damage(data))
    with pytest.raises(BundleError, match="damaged"):
        load_bundle(scored)


def test_a_score_that_is_missing_or_another_model_s_is_refused(scored, tmp_path):
    save_bundle(tmp_path / "wide", make(ood=ooddata.make()))
    with pytest.raises(BundleError, match="is for 4000 pixels, not 40"):
        load_bundle(tmp_path / "wide")
    (scored / OOD_NAME).unlink()
    with pytest.raises(BundleError, match=f"{OOD_NAME} is not in it"):
        load_bundle(scored)


def test_weights_of_another_shape(tmp_path):
    bundle = make()
    weights = {**bundle.weights, "members.0.trunks.0.0.weight": np.zeros((16, 41), np.float32)}
    save_bundle(tmp_path / "model", make(weights=weights))
    with pytest.raises(BundleError, match=r"do not fit its architecture .*16, 41"):
        load_bundle(tmp_path / "model")
