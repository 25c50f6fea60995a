"""The fit of one trial of a search, part by part."""

import dataclasses
import math
import tracemalloc

from fitdata import spectra

from raystellar.fit.checkpoints import Checkpoints
from raystellar.fit.config import FitConfig
from raystellar.fit.loop import fit
from raystellar.fit.trial import Fitter
from raystellar.model.architecture import NetworkConfig

NETWORK = NetworkConfig(n_pixels=40, stem=16, blocks=(8,), head_teff=())
CONFIG = FitConfig(epochs=4, batch_size=64, stem_scale=1.0, learning_rate=5e-3)
TRAIN, VALIDATION = spectra(120, seed=1), spectra(60, seed=2)


def without_times(outcome):
    return {name: outcome[name] for name in outcome if name not in ("seconds", "overhead", "predict_ms")}


def test_a_trial_in_parts_ends_as_a_fit(tmp_path):
    fitter, checkpoints = Fitter(TRAIN, VALIDATION, CONFIG, "cpu"), Checkpoints(str(tmp_path), "trial", keep=1)
    config = dataclasses.replace(CONFIG, learning_rate=2e-3, weight_decay=0.0)
    first = fitter(NETWORK, config, 1, checkpoints)
    fitter(dataclasses.replace(NETWORK, stem=8), CONFIG, 2, None)  # another trial in between
    last = fitter(NETWORK, config, 4, checkpoints)
    whole = fit(TRAIN, VALIDATION, NETWORK, config)
    assert last["validation"] == [past["validation_loss"] for past in whole.history]
    assert last["training"] == [past["train_loss"] for past in whole.history]
    assert first["validation"] == last["validation"][:1]
    assert last["parameters"] == sum(weights.size for weights in whole.weights.values())
    assert last["seconds"] > first["seconds"] > 0
    assert last["overhead"] >= 0
    assert without_times(fitter(NETWORK, config, 4, None)) == without_times(last)  # from the beginning


def test_another_seed_has_other_noise():
    fitter = Fitter(TRAIN, VALIDATION, CONFIG, "cpu")
    config = dataclasses.replace(CONFIG, seed=5)
    whole = fit(TRAIN, VALIDATION, NETWORK, config)
    assert fitter(NETWORK, config, 4, None)["validation"] == [past["validation_loss"] for past in whole.history]


def test_a_trial_that_diverges_is_a_failure_and_others_go_on():
    fitter = Fitter(TRAIN, VALIDATION, CONFIG, "cpu")
    outcome = fitter(NETWORK, dataclasses.replace(CONFIG, learning_rate=1e30), 2, None)
    assert list(outcome) == ["failure"]
    assert "never finite" in outcome["failure"]
    assert math.isfinite(fitter(NETWORK, CONFIG, 1, None)["validation"][0])


def peak_memory(train, validation):
    """Return the bytes that a worker allocates at most for a trial of one epoch."""
    network = dataclasses.replace(NETWORK, n_pixels=train.flux.shape[1])
    train.flux.setflags(write=False)
    tracemalloc.start()
    try:
        Fitter(train, validation, CONFIG, "cpu")(network, CONFIG, 1, None)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_no_worker_copies_the_spectra():
    """The spectra lie in shared memory, read-only."""
    few, many, validation = (spectra(n, seed=1, n_pixels=2000) for n in (300, 3000, 60))
    more = many.flux.nbytes - few.flux.nbytes  # 22 MB
    assert peak_memory(many, validation) - peak_memory(few, validation) < more / 10


def test_the_time_of_inference_is_measured_only_on_request():
    assert "predict_ms" not in Fitter(TRAIN, VALIDATION, CONFIG, "cpu")(NETWORK, CONFIG, 1, None)
    assert Fitter(TRAIN, VALIDATION, CONFIG, "cpu", timed=True)(NETWORK, CONFIG, 1, None)["predict_ms"] > 0
