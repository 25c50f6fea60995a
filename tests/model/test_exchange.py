"""The exported graph gives the labels of the bundle, for any number of spectra, or is not written."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import raystellar
from raystellar.cli import main
from raystellar.errors import OutputError
from raystellar.model import exchange
from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle_files import load_bundle
from raystellar.model.network import StellarNet, joined
from raystellar.model.recipe import describe, readable

NEEDED = {".pt2": (), ".onnx": ("onnx", "onnxscript", "onnxruntime")}


@pytest.fixture(scope="module")
def bundle(model):
    return load_bundle(model)


@pytest.fixture(scope="module", params=sorted(NEEDED))
def exported(request, model, tmp_path_factory):
    for name in NEEDED[request.param]:
        pytest.importorskip(name, reason=f"{name} is not installed; pip install 'raystellar[onnx]'")
    path = tmp_path_factory.mktemp("exchange") / f"model{request.param}"
    assert main(["export", str(model), "--out", str(path)]) == 0
    return path


def opened(path):
    """Return the program in a file and its description, read as another program would."""
    if path.suffix == ".pt2":
        extra = {"raystellar.json": ""}
        module = torch.export.load(path, extra_files=extra).module()
        return lambda flux: module(torch.from_numpy(flux)).detach().numpy(), json.loads(extra["raystellar.json"])
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    assert [(tensor.name, tensor.shape, tensor.type) for tensor in session.get_inputs()] == [
        ("flux", ["batch", 4000], "tensor(float)")
    ]
    assert [(tensor.name, tensor.shape, tensor.type) for tensor in session.get_outputs()] == [
        ("labels", ["batch", 3], "tensor(float)")
    ]
    about = json.loads(session.get_modelmeta().custom_metadata_map["raystellar"])
    return lambda flux: session.run(["labels"], {"flux": flux})[0], about


@pytest.mark.parametrize("n", [1, 3, 300])
def test_the_exported_program_gives_the_labels_of_the_bundle(exported, bundle, n):
    program, _ = opened(exported)
    flux = np.random.default_rng(n).normal(size=(n, 4000)).astype(np.float32)
    labels = program(flux)
    assert labels.dtype == np.float32
    assert (np.abs(labels - bundle.predict(flux)) < 1e-4 * np.array(bundle.scale)).all()


def test_the_exported_file_holds_its_description(exported, bundle):
    _, about = opened(exported)
    assert about == json.loads(json.dumps(describe(bundle)))
    assert exported.with_name(exported.name + ".txt").read_text() == readable(describe(bundle))
    assert len(list(exported.parent.iterdir())) == 2


def test_the_exported_file_names_no_folder_of_this_machine(exported):
    content = exported.read_bytes()
    for folder in (Path(raystellar.__file__).parent, Path(torch.__file__).parent, Path.home()):
        assert str(folder).encode() not in content


def test_the_same_bundle_makes_the_same_file(exported, model, tmp_path):
    exchange.export_model(str(model), str(tmp_path / exported.name))
    assert (tmp_path / exported.name).read_bytes() == exported.read_bytes()


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(n_pixels=400, stem=32, blocks=(32, 16), stem_dropout=0.3),
        NetworkConfig(n_pixels=400, stem=16, blocks=(16,), skip=False, layer_norm=False, multitask=False),
    ],
)
def test_every_architecture_can_be_exported(bundle, config):
    weights = {name: value.numpy() for name, value in StellarNet(config, seed=3).state_dict().items()}
    other = dataclasses.replace(bundle, network=config, weights=joined([weights]))
    program = exchange._load_pt2(exchange._pt2(exchange._trace(other), describe(other)))
    assert (exchange.differences(other, program) < exchange.TOLERANCE * np.array(other.scale)).all()


def test_the_spectra_of_the_check_are_standardised():
    flux = exchange.check_spectra(400)
    np.testing.assert_allclose(flux.mean(1), 0.0, atol=1e-6)
    np.testing.assert_allclose(flux.std(1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(flux, exchange.check_spectra(400))


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_a_program_that_gives_other_labels_is_not_written(model, bundle, tmp_path, monkeypatch, wrong):
    def other(flux):
        labels = bundle.predict(flux)
        labels[-1, 1] += wrong
        return labels

    monkeypatch.setitem(exchange.WRITERS, ".pt2", (lambda program, about: b"", lambda content: other))
    with pytest.raises(OutputError, match=r"is not written: its labels differ .* dex"):
        exchange.export_model(str(model), str(tmp_path / "model.pt2"))
    assert not list(tmp_path.iterdir())


def test_an_export_that_cannot_be_made_ends_in_one_sentence(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for words, message in (
        (["--out", tmp_path / "m.onnx"], "a model as .onnx needs onnx; pip install 'raystellar[onnx]'"),
        (["--out", tmp_path / "m.fits"], "is a model, not a catalogue; its file must end in .onnx, .pt2"),
        (["--out", tmp_path / "m.pt2", "--good"], "--good is for the rows of a catalogue"),
        (["--out", tmp_path / "absent" / "m.pt2"], "cannot be written"),
    ):
        assert main(["export", str(model), *map(str, words)]) == 1
        error = capsys.readouterr().err.strip()
        assert error.startswith("raystellar export: ")
        assert message in error
        assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
