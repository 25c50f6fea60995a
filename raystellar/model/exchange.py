"""Export a model bundle as one file for other programs, in ONNX or in the pt2 format of torch.export.

The graph maps standardised flux to labels in their units. The file holds its own description as JSON, and a text file
beside it holds the description for people, see ``recipe``. Before a file is written, the exported program is run, and
refused if its labels differ from those of ``Bundle.predict``.

These files are for other programs. raystellar itself labels from bundles alone and loads only files that it has just
written. An ONNX file is pure data. ``torch.export.load`` unpickles objects where a pt2 file contains them, so load only
files that you trust; the files written here contain none.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import raystellar
from raystellar.errors import ConfigError, OutputError
from raystellar.files import places
from raystellar.model.bundle import Bundle
from raystellar.model.bundle_files import load_bundle
from raystellar.model.recipe import INPUT, OUTPUT, describe, readable
from raystellar.targets import TARGETS

ABOUT_KEY, ABOUT_FILE = "raystellar", "raystellar.json"
"""Location of the description: a key of ONNX's metadata, and a file in a pt2 archive."""

TEXT_SUFFIX = ".txt"
"""Suffix added to the name of the file for the text beside it."""

CHECK_BATCHES = (1, 7, 256)
"""Numbers of spectra per batch in the check, because a graph may be valid only for the batch size of its tracing."""

TOLERANCE = 2e-5
"""Largest difference from ``Bundle.predict`` in units of the scale of a target (teff: about 0.02 K). Sums in another
order change labels by a tenth of this tolerance."""

Program = Callable[[np.ndarray], np.ndarray]
"""Function from flux (n, P) float32 to labels (n, 3) float32."""


@dataclass(frozen=True)
class ModelExport:
    """A model that was exported."""

    out: str
    """Path or URL of the file."""
    text: str
    """Path or URL of the description for people."""
    model_id: str
    """Identity of the bundle, see ``Bundle.model_id``."""
    difference: dict[str, float]
    """Largest difference from ``Bundle.predict`` per target, in its unit."""
    spectra: int
    """Number of spectra that were compared."""


class Descaled(nn.Module):
    r"""The network with its scaler: :math:`y = c + s \, f(x)`, in the units of the targets.

    Arguments:
        bundle: the model to export
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.network = bundle.module
        self.register_buffer("centre", torch.tensor(bundle.centre, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(bundle.scale, dtype=torch.float32))

    def forward(self, flux: Tensor) -> Tensor:
        """Map standardised flux (B, P) to labels (B, 3)."""
        return self.network(flux) * self.scale + self.centre


def export_model(model: str, out: str) -> ModelExport:
    """Export the bundle ``model`` to the file ``out`` and write its description beside it; replace older files.

    Parameters
    ----------
    model : folder written by the stage train, a path or URL
    out : file that ends in .onnx or .pt2, a path or URL

    Raises
    ------
    BundleError : the bundle is missing or damaged
    ConfigError : ``out`` has another ending, or needs a package that is not installed
    OutputError : the labels of the exported program differ, or ``out`` cannot be written
    """
    kind = Path(out).suffix
    if kind not in WRITERS:
        raise ConfigError(
            f"{model} is a model, not a catalogue; its file must end in {', '.join(WRITERS)}, but it is {out}"
        )
    write, load = WRITERS[kind]
    bundle = load_bundle(model)
    about = describe(bundle)
    with _quiet():
        content = write(_trace(bundle), about)
        worst = differences(bundle, load(content))
    if not (worst <= TOLERANCE * np.array(bundle.scale)).all():
        values = ", ".join(f"{value:.2g} {target.unit}" for value, target in zip(worst, TARGETS, strict=True))
        raise OutputError(f"{out} is not written: its labels differ from those of {model} by up to {values}; report it")
    places.write_bytes(out + TEXT_SUFFIX, readable(about).encode())
    places.write_bytes(out, content)
    named = {target.name: float(value) for target, value in zip(TARGETS, worst, strict=True)}
    return ModelExport(out, out + TEXT_SUFFIX, bundle.model_id, named, sum(CHECK_BATCHES))


def differences(bundle: Bundle, program: Program) -> np.ndarray:
    """Return the largest difference (3,) between labels of ``program`` and ``bundle``; NaN where a label is NaN."""
    flux = check_spectra(bundle.network.n_pixels)
    parts = np.split(flux, np.cumsum(CHECK_BATCHES)[:-1])
    labels = np.concatenate([program(part) for part in parts])
    return np.abs(labels - bundle.predict(flux)).max(axis=0)


def check_spectra(n_pixels: int) -> np.ndarray:
    """Return spectra (264, n_pixels) float32 for the check: smooth shapes with lines and noise, standardised."""
    rng = np.random.default_rng(0)
    n = sum(CHECK_BATCHES)
    x = np.linspace(-1.0, 1.0, n_pixels)
    flux = np.polynomial.polynomial.polyval(x, rng.normal(size=(5, n)))
    for centre, depth, width in rng.uniform((-1.0, 0.0, 1e-3), (1.0, 1.0, 1e-2), (60, 3)):
        flux -= depth * rng.random((n, 1)) * np.exp(-0.5 * ((x - centre) / width) ** 2)
    flux += rng.random((n, 1)) * rng.normal(size=flux.shape)
    return ((flux - flux.mean(1, keepdims=True)) / flux.std(1, keepdims=True)).astype(np.float32)


def _trace(bundle: Bundle) -> torch.export.ExportedProgram:
    """Return the graph of ``bundle`` for any number of spectra."""
    example = torch.zeros(2, bundle.network.n_pixels)
    dynamic = {INPUT: {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(Descaled(bundle).eval(), (example,), dynamic_shapes=dynamic)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the trace names files of this machine
    program.example_inputs = None  # the file would contain the inputs, pickled
    return program


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the log messages and warnings of the exporters."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


# pt2 -------------------------------------------------------------------------------------------------------


def _pt2(program: torch.export.ExportedProgram, about: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    torch.export.save(program, stream, extra_files={ABOUT_FILE: json.dumps(about, indent=1)})
    return stream.getvalue()


def _load_pt2(content: bytes) -> Program:
    """Return the program in a pt2 file that this module has just written."""
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda flux: module(torch.from_numpy(flux)).detach().numpy()


# ONNX ------------------------------------------------------------------------------------------------------


def _onnx(program: torch.export.ExportedProgram, about: Mapping[str, Any]) -> bytes:
    onnx = _package("onnx")
    _package("onnxscript")
    exported = torch.onnx.export(program, dynamo=True, verbose=False, input_names=[INPUT], output_names=[OUTPUT])
    assert exported is not None  # guaranteed by dynamo=True
    model = exported.model_proto
    model.producer_name, model.producer_version = "raystellar", raystellar.__version__
    model.doc_string = readable(about)
    graph = model.graph
    del graph.value_info[:]  # shapes of inner tensors can be inferred
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]  # notes of the exporter
    onnx.helper.set_model_props(model, {ABOUT_KEY: json.dumps(about, indent=1)})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _load_onnx(content: bytes) -> Program:
    runtime = _package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda flux: session.run([OUTPUT], {INPUT: flux})[0]


def _package(name: str) -> Any:
    """Return an optional package.

    Raises
    ------
    ConfigError : the package is not installed
    """
    try:
        return __import__(name)
    except ImportError:
        raise ConfigError(f"a model as .onnx needs {name}; pip install 'raystellar[onnx]'") from None


WRITERS: Mapping[str, tuple[Callable[..., bytes], Callable[[bytes], Program]]] = {
    ".onnx": (_onnx, _load_onnx),
    ".pt2": (_pt2, _load_pt2),
}
"""Functions that make the content of a file, and a program from that content, by the ending of the file."""
