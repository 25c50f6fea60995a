"""The model bundle in memory: predictions and identity."""

import dataclasses

import numpy as np
import ooddata
import pytest
from bundles import ERRORS, NETWORK, make

from raystellar.errors import BundleError

FLUX = np.random.default_rng(0).standard_normal((20, 40), dtype=np.float32)
IVAR, SN = np.full((20, 5), 50.0), np.full(20, 30.0)


def test_predictions_are_scaled_to_the_units_of_the_targets():
    bundle = make(centre=(5000.0, -1.0, 4.0), scale=(0.0, 0.0, 0.0))
    assert np.array_equal(bundle.predict(FLUX[:2]), [[5000.0, -1.0, 4.0]] * 2)
    twice = make(scale=(1800.0, 1.6, 1.2))
    np.testing.assert_allclose(twice.predict(FLUX) - twice.centre, 2.0 * (make().predict(FLUX) - make().centre))


def test_spectra_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(n, 40\)"):
        make().predict(np.ones((2, 41), np.float32))


def test_predictions_with_errors_are_those_without():
    bundle = make()
    labels, errors = bundle.predict_with_errors(FLUX, IVAR, SN)
    assert np.array_equal(labels, bundle.predict(FLUX))
    assert (errors > 0).all()


def test_a_bundle_without_error_model_gives_no_errors():
    with pytest.raises(BundleError, match="without errors of its predictions; train it again"):
        make(errors=None).predict_with_errors(FLUX, IVAR, SN)


def test_a_bundle_without_ood_score_scores_nan():
    assert np.isnan(make().ood_score(FLUX, IVAR)).all()


def test_the_model_id_changes_with_everything_that_decides_predictions():
    bundle = make()
    noisier = dataclasses.replace(ERRORS, low=(1.1, *ERRORS.low[1:]))
    preprocess = dataclasses.replace(bundle.preprocess, passes="one")
    scores = [ooddata.make(seed, pixels=NETWORK.n_pixels) for seed in (0, 1)]
    others = [make(seed=1), make(scale=(901.0, 0.8, 0.6)), make(preprocess=preprocess), make(errors=noisier)]
    others += [make(ood=score) for score in scores]
    assert len({bundle.model_id, *(other.model_id for other in others)}) == 1 + len(others)


def test_the_model_id_does_not_depend_on_provenance_and_order():
    bundle = make()
    assert make(created="2020-01-01T00:00:00+00:00", history=[], config={"a": 1}).model_id == bundle.model_id
    assert dataclasses.replace(bundle, weights=dict(reversed(bundle.weights.items()))).model_id == bundle.model_id
