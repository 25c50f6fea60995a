"""The fit of one network: accuracy, resumption, and independence of the number of workers."""

import dataclasses
import logging
import math
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing
from fitdata import spectra
from torch import nn

from raystellar.errors import DatasetError
from raystellar.fit.augment import Augmenter
from raystellar.fit.checkpoints import Checkpoints
from raystellar.fit.config import FitConfig
from raystellar.fit.data import LABEL_ERROR_NAMES
from raystellar.fit.loop import _Fit, _Workers, fit, flatten, huber, label_weights
from raystellar.fit.schedule import memory
from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle import Bundle
from raystellar.model.network import joined

NETWORK = NetworkConfig(n_pixels=40, stem=32, blocks=(16,), trunk_dropout=0.2, dropout_teff=0.1)
CONFIG = FitConfig(epochs=4, batch_size=64, stem_scale=1.0, learning_rate=5e-3)
TRAIN, VALIDATION = spectra(301, seed=1), spectra(100, seed=2)


def same(first, second):
    return all(np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)


def without_seconds(history):
    return [{name: value for name, value in past.items() if name != "seconds"} for past in history]


class Killed(Exception):
    pass


def kill_after(epoch):
    def report(outcome):
        if outcome.epoch == epoch:
            raise Killed

    return report


def test_the_errors_fall_with_the_epochs():
    epochs = []
    result = fit(TRAIN, VALIDATION, NETWORK, dataclasses.replace(CONFIG, epochs=12), report=epochs.append)
    assert [entry.epoch for entry in epochs] == list(range(1, 13))
    assert epochs[-1].validation_loss < 0.3 * epochs[0].validation_loss
    assert epochs[-1].train_loss < 0.5 * epochs[0].train_loss
    deviation = VALIDATION.targets.std(axis=0)
    for t, name in enumerate(("teff", "feh", "logg")):
        assert result.validation[name]["mae"] < 0.5 * deviation[t]
    assert result.label_ranges["teff"] == (TRAIN.targets[:, 0].min(), TRAIN.targets[:, 0].max())
    best = min(epochs, key=lambda entry: entry.validation_loss)
    assert result.best_epoch == best.epoch
    assert [result.validation[name]["mae"] for name in ("teff", "feh", "logg")] == list(best.mae)


def test_the_result_has_the_weights_of_its_best_epoch():
    result = fit(TRAIN, VALIDATION, NETWORK, dataclasses.replace(CONFIG, epochs=8, learning_rate=0.1))
    bundle = Bundle(
        network=NETWORK, weights=joined([result.weights]), preprocess={}, label_ranges={},
        centre=tuple(result.scaler.centre), scale=tuple(result.scaler.scale),
    )  # fmt: skip
    mae = np.abs(bundle.predict(VALIDATION.flux) - VALIDATION.targets).mean(0)
    np.testing.assert_allclose(mae, result.history[result.best_epoch - 1]["mae"], rtol=1e-5)


def test_weights_are_averaged_over_the_steps():
    """The average is the sum of the weights after each step, each times the share that the later steps have kept."""
    config = dataclasses.replace(CONFIG, epochs=2, averaging=0.3)
    run = _Fit(TRAIN, VALIDATION, NETWORK, config, _Workers(0, 1, torch.device("cpu")), Augmenter(TRAIN, config))
    order, steps = run.items.order(0), -(-len(run.items) // config.batch_size)
    snapshots = [run.parameters.detach().double().clone()]
    run.network.train()
    for start in range(0, len(order), config.batch_size):
        run.step(order[start : start + config.batch_size])
        snapshots.append(run.parameters.detach().double().clone())
    kept = [memory(step, 0.3 * steps) for step in range(1, len(snapshots))]
    shares = [1.0, *(1.0 - share for share in kept)]
    expected = sum(
        share * math.prod(kept[k:]) * snapshot
        for k, (share, snapshot) in enumerate(zip(shares, snapshots, strict=True))
    )
    np.testing.assert_allclose(run.average.numpy(), expected.numpy(), atol=1e-6)
    latest = run.parameters.detach().clone()
    run._validate(0.0, 0.0)
    assert torch.equal(run.parameters.detach(), latest)  # the fit goes on with the weights themselves
    assert torch.equal(run.best, run.average)


def test_without_averaging_weights_are_those_of_the_last_step():
    config = dataclasses.replace(CONFIG, averaging=0.0)
    run = _Fit(TRAIN, VALIDATION, NETWORK, config, _Workers(0, 1, torch.device("cpu")), Augmenter(TRAIN, config))
    run.epoch()
    assert torch.equal(run.average, run.parameters.detach())


def test_a_fit_is_a_function_of_data_settings_and_seed():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global generators must not matter
    first = fit(TRAIN, VALIDATION, NETWORK, CONFIG)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert same(first, fit(TRAIN, VALIDATION, NETWORK, CONFIG))
    assert not same(first, fit(TRAIN, VALIDATION, NETWORK, dataclasses.replace(CONFIG, seed=1)))


def test_read_only_arrays_are_used_without_a_warning(recwarn):
    for array in (TRAIN.flux, TRAIN.targets, TRAIN.keys, VALIDATION.flux, VALIDATION.targets):
        array.setflags(write=False)
    fit(TRAIN, VALIDATION, NETWORK, dataclasses.replace(CONFIG, epochs=1))
    assert not [warning for warning in recwarn if "writ" in str(warning.message)]


def test_the_loss_is_the_weighted_huber_loss():
    predicted, truth = torch.tensor([[0.5, 3.0, -2.0]]), torch.zeros(1, 3)
    weights = torch.tensor([2.0, 1.0, 10.0])
    assert huber(predicted, truth, weights, 1.0) == pytest.approx(2 * 0.125 + 2.5 + 10 * 1.5)


def test_parameters_are_views_of_one_vector():
    network = nn.Linear(3, 2)
    flat = flatten(network)
    network(torch.ones(1, 3)).sum().backward()
    assert flat.grad.tolist() == [1.0] * 8
    flat.data.fill_(7.0)
    assert network.bias.tolist() == [7.0, 7.0]


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_a_fit_that_was_killed_and_resumed_ends_as_an_uninterrupted_one(tmp_path, epoch):
    whole = fit(TRAIN, VALIDATION, NETWORK, CONFIG)
    checkpoints = Checkpoints(str(tmp_path), "fit")
    with pytest.raises(Killed):
        fit(TRAIN, VALIDATION, NETWORK, CONFIG, checkpoints=checkpoints, report=kill_after(epoch))
    outcomes = []
    resumed = fit(TRAIN, VALIDATION, NETWORK, CONFIG, checkpoints=checkpoints, report=outcomes.append)
    assert [entry.epoch for entry in outcomes] == list(range(epoch + 1, 5))
    assert same(whole, resumed)
    assert resumed.validation == whole.validation
    assert resumed.best_epoch == whole.best_epoch
    assert len(list((tmp_path / "fit").iterdir())) == min(2, epoch + len(outcomes))


@pytest.mark.parametrize("rungs", [(1, 4), (2, 3, 4), (1, 2, 3, 4), (4, 9)])
def test_a_fit_in_parts_ends_as_an_uninterrupted_one(tmp_path, rungs):
    whole = fit(TRAIN, VALIDATION, NETWORK, CONFIG)
    checkpoints = Checkpoints(str(tmp_path), "fit", keep=1, durable=False)
    outcomes, before = [], 0
    for until in rungs:
        part = fit(TRAIN, VALIDATION, NETWORK, CONFIG, checkpoints=checkpoints, report=outcomes.append, until=until)
        assert [entry.epoch for entry in outcomes[before:]] == list(range(before + 1, min(until, 4) + 1))
        before = min(until, 4)
        assert len(part.history) == before
        assert without_seconds(part.history) == without_seconds(whole.history[:before])
        assert len(list((tmp_path / "fit").iterdir())) == 1
    assert same(whole, part)
    assert part.validation == whole.validation
    assert part.best_epoch == whole.best_epoch
    again = fit(TRAIN, VALIDATION, NETWORK, CONFIG, checkpoints=checkpoints, report=outcomes.append, until=1)
    assert len(outcomes) == 4  # nothing is left to do
    assert same(whole, again)


def test_a_part_without_checkpoints_begins_anew():
    part = fit(TRAIN, VALIDATION, NETWORK, CONFIG, until=2)
    assert [past["epoch"] for past in part.history] == [1, 2]
    whole = fit(TRAIN, VALIDATION, NETWORK, CONFIG)
    assert without_seconds(part.history) == without_seconds(whole.history[:2])


@pytest.mark.parametrize("fresh", [False, True])
def test_items_that_were_made_before_change_nothing(fresh):
    config = dataclasses.replace(CONFIG, epochs=2, fresh_noise=fresh)
    items = Augmenter(TRAIN, config)
    whole = fit(TRAIN, VALIDATION, NETWORK, config)
    for _ in range(2):  # and can be used again
        again = fit(TRAIN, VALIDATION, NETWORK, config, items=items)
        assert same(whole, again)
        assert without_seconds(again.history) == without_seconds(whole.history)


def test_damaged_checkpoints_are_passed_over(tmp_path, caplog):
    checkpoints = Checkpoints(str(tmp_path), "fit")
    whole = fit(TRAIN, VALIDATION, NETWORK, CONFIG, checkpoints=checkpoints)
    _, newest = sorted((tmp_path / "fit").iterdir())
    newest.write_bytes(newest.read_bytes()[:-10])
    (tmp_path / "fit" / "epoch-00009-0.1.tmp").write_bytes(b"left by a killed writer")
    outcomes = []
    with caplog.at_level(logging.WARNING):
        resumed = fit(TRAIN, VALIDATION, NETWORK, CONFIG, checkpoints=checkpoints, report=outcomes.append)
    assert [entry.epoch for entry in outcomes] == [4]
    assert "damaged" in caplog.text
    assert same(whole, resumed)


def test_spectra_that_cannot_be_fitted_are_refused():
    constant = dataclasses.replace(TRAIN, targets=np.ones_like(TRAIN.targets))
    with pytest.raises(DatasetError, match=r"label teff is 1\.0 in every"):
        fit(constant, VALIDATION, NETWORK, CONFIG)
    with pytest.raises(DatasetError, match=r"shape \(301, 40\) and the network needs \(n, 4000\)"):
        fit(TRAIN, VALIDATION, NetworkConfig(), CONFIG)
    with pytest.raises(DatasetError, match="never finite"):
        fit(TRAIN, VALIDATION, NETWORK, dataclasses.replace(CONFIG, epochs=2, learning_rate=1e30))


def _work(rank, world, port, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    # Only rank 0 has the disk; the third epoch comes from its checkpoint on both.
    for epochs in (2, CONFIG.epochs):
        checkpoints = Checkpoints(str(folder / str(rank)), "fit")
        report = kill_after(epochs) if epochs < CONFIG.epochs else None
        try:
            result = fit(
                TRAIN, VALIDATION, NETWORK, CONFIG, rank=rank, world=world, checkpoints=checkpoints, report=report
            )
        except Killed:
            continue
    np.savez(folder / f"{rank}.npz", **result.weights)
    torch.distributed.destroy_process_group()


@pytest.mark.processes
def test_two_workers_fit_the_same_network_as_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_work, (2, port, tmp_path), nprocs=2)
    one, ranks = fit(TRAIN, VALIDATION, NETWORK, CONFIG), [np.load(tmp_path / f"{rank}.npz") for rank in (0, 1)]
    assert not (tmp_path / "1").exists()
    for name, weights in one.weights.items():
        assert np.array_equal(ranks[0][name], ranks[1][name])
        np.testing.assert_allclose(ranks[0][name], weights, atol=1e-4)


def test_labels_weigh_by_their_errors():
    """The weights are those of a loop over the stars; a label without an error counts as 1."""
    rng = np.random.default_rng(3)
    extra = {name: rng.uniform(0.5, 3.0, 7).tolist() for name in LABEL_ERROR_NAMES}
    extra["e_feh"][2], extra["e_feh"][4], extra["e_logg"] = None, 0.0, [None] * 7
    weights = label_weights(dataclasses.replace(TRAIN, extra=extra))
    for t, name in enumerate(LABEL_ERROR_NAMES):
        known = [error for error in extra[name] if error]
        expected = [2.0 / (1.0 + (error / np.median(known)) ** 2) if error else 1.0 for error in extra[name]]
        np.testing.assert_allclose(weights[:, t], expected, rtol=1e-6)


def test_uncertain_labels_are_learnt_less():
    """A third of the labels are wrong and say so; the fit with weights is closer to the truth."""
    wrong = np.arange(len(TRAIN)) % 3 == 0
    targets = np.where(wrong[:, None], TRAIN.targets + np.float32([400.0, 0.3, 0.35]), TRAIN.targets)
    extra = TRAIN.extra | {name: np.where(wrong, 30.0, 1.0).tolist() for name in LABEL_ERROR_NAMES}
    spectra = dataclasses.replace(TRAIN, targets=targets, extra=extra)
    results = [
        fit(spectra, VALIDATION, NETWORK, dataclasses.replace(CONFIG, epochs=40, label_weights=weighted))
        for weighted in (False, True)
    ]
    plain, weighted = ([result.validation[name]["mae"] for name in ("teff", "feh", "logg")] for result in results)
    assert all(better < 0.8 * worse for better, worse in zip(weighted, plain, strict=True))
