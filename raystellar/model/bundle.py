"""The model bundle: a folder that describes itself.

``weights.safetensors`` holds the weights, ``ood.safetensors`` what the training spectra are like, ``bundle.json``
everything else that is needed to apply and to judge them: architecture, grid and preprocessing, scaler, error model,
label ranges, configuration, provenance. Written to a temporary folder and renamed; refused with the reason where it
does not fit. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Union

import numpy as np

import raystellar
from raystellar.config import digest
from raystellar.errors import BundleError, ConfigError
from raystellar.files import places
from raystellar.model.architecture import NetworkConfig
from raystellar.model.errormodel import ErrorModel
from raystellar.model.ood import OodScore
from raystellar.preprocess.pixels import PreprocessConfig
from raystellar.schema import BUNDLE_NAME
from raystellar.targets import TARGETS

if TYPE_CHECKING:
    from raystellar.model.network import Ensemble

FORMAT_VERSION = 5
"""Raised when a reader of the old format would go wrong."""

Place = Union[str, "os.PathLike[str]"]
"""A path or URL."""

ARRAYS = ("weights", "ood")
"""Fields that are arrays, and stand in files of their own."""


def _versions() -> dict[str, str]:
    """Return the versions of what the numbers rest on."""
    return {name: importlib.metadata.version(name) for name in ("numpy", "torch", "ray")}


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Fitted networks with all that is needed to apply them; every field but ``ARRAYS`` is plain JSON."""

    network: NetworkConfig
    """Architecture of each member."""

    weights: Mapping[str, np.ndarray] = field(repr=False)
    """The state of all members by name, float32, see ``network.joined``."""

    preprocess: PreprocessConfig
    """Preprocessing that made the training spectra."""

    centre: tuple[float, ...]
    """Median of the training labels per target, in the units of the targets."""

    scale: tuple[float, ...]
    """Interquartile range of the training labels per target, in the units of the targets."""

    label_ranges: dict[str, tuple[float, float]]
    """Least and greatest training label per target."""

    errors: ErrorModel | None = None
    """What makes errors of predictions, see ``fit.calibrate``; None where that was not done."""

    calibration: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    """How well these foretell the residuals on the validation set per target, see ``fit.calibrate.assess``."""

    ood: OodScore | None = field(default=None, repr=False)
    """What scores how unlike the training spectra a spectrum is; None where no noise was known to learn from."""

    ood_check: dict[str, Any] = field(default_factory=dict, repr=False)
    """How many validation spectra score above the limit, see ``fit.ood.assess``."""

    validation: dict[str, dict[str, float]] = field(default_factory=dict)
    """Errors on the validation set per target, see ``fit.metrics``."""

    history: list[list[dict[str, Any]]] = field(default_factory=list, repr=False)
    """For each member one entry per epoch."""

    best_epochs: tuple[int, ...] = ()
    """Epoch of the weights of each member, from 1."""

    config: dict[str, Any] = field(default_factory=dict, repr=False)
    """The resolved configuration of the run."""

    data_hash: str = ""
    """Digest of the dataset."""

    fit_id: str = ""
    """Digest of network, fit settings and dataset: who asks for the same again gets this bundle."""

    seed: int = 0
    """Of the fit."""

    raystellar_version: str = raystellar.__version__
    """That made the bundle."""

    versions: dict[str, str] = field(default_factory=_versions)
    """Of the libraries that made the bundle."""

    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    """When the bundle was made, UTC."""

    @property
    def grid(self) -> dict[str, Any]:
        """The grid of the spectra: ``start`` and ``stop`` [log10 angstrom], both included, and ``n``."""
        return {"start": self.preprocess.loglam_start, "stop": self.preprocess.loglam_stop, "n": self.network.n_pixels}

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights: names, shapes and values, in the order of names."""
        return _sha256(self.weights)

    @cached_property
    def ood_sha256(self) -> str | None:
        """SHA-256 of the arrays of the OOD score, as of the weights; None where there are none."""
        return _sha256(self.ood.arrays()) if self.ood else None

    @property
    def model_id(self) -> str:
        """Digest of what decides a row: weights, architecture, scaler, preprocessing, errors, ood."""
        arrays = [self.weights_sha256, self.ood_sha256]
        return digest([arrays, self.network, self.centre, self.scale, self.preprocess, self.errors])

    @property
    def members(self) -> int:
        """Networks of which the model is the mean."""
        return len({name.split(".")[1] for name in self.weights if name.startswith("members.")})

    @cached_property
    def module(self) -> Ensemble:
        """The networks as one torch module on the CPU, in evaluation mode."""
        import torch

        from raystellar.model.network import Ensemble

        module = Ensemble(self.network, self.members)
        module.load_state_dict({name: torch.tensor(array) for name, array in self.weights.items()})
        return module.eval()

    def on(self, device: str) -> Bundle:
        """Return the bundle with its network on ``device``.

        Raises
        ------
        ConfigError : there is no such device
        """
        import torch

        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise ConfigError("a GPU was asked for and torch sees none here; set resources.gpus_per_actor=0")
        self.module.to(device)
        return self

    def predict(self, flux: np.ndarray) -> np.ndarray:
        """Return targets (n, 3) float64 in their own units for standardised ``flux`` (n, n_pixels).

        Raises
        ------
        ValueError : the spectra are not on the grid of the model
        """
        from raystellar.model.network import predict

        if flux.ndim != 2 or flux.shape[1] != self.network.n_pixels:
            raise ValueError(f"flux has shape {flux.shape} and must be (n, {self.network.n_pixels})")
        return predict(self.module, flux).astype(np.float64) * self.scale + self.centre

    def predict_with_errors(self, flux: np.ndarray, ivar: np.ndarray, sn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return targets (n, 3) float64 as ``predict`` does, and their errors (n, 3), in their units.

        Parameters
        ----------
        flux : (n, n_pixels) standardised
        ivar : (n, blocks) inverse variance of ``flux`` in blocks of pixels; 0 where no pixel is good
        sn : (n,) median S/N per pixel; NaN where it is unknown

        Raises
        ------
        BundleError : the bundle was made without errors
        """
        from raystellar.model.uncertainty import predict_with_variances

        if self.errors is None:
            raise BundleError(f"model {self.model_id} was made without errors of its predictions; train it again")
        predicted, variances = predict_with_variances(self.module, flux, ivar)
        scaled = predicted.astype(np.float64)
        return scaled * self.scale + self.centre, self.errors(variances, scaled, sn) * self.scale

    def ood_score(self, flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
        """Return how unlike the training spectra (n,) float32 each spectrum is, see ``ood.OodScore.score``.

        NaN where the training spectra had no noise to learn from.
        """
        return self.ood.score(flux, ivar) if self.ood else np.full(len(flux), np.nan, dtype=np.float32)


def _sha256(arrays: Mapping[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def is_bundle(place: Place) -> bool:
    """Return whether ``place`` is a folder that looks like a bundle, whole or not."""
    return places.exists(places.join(os.fspath(place), BUNDLE_NAME))


def _targets() -> list[dict[str, str]]:
    return [{"name": target.name, "unit": target.unit} for target in TARGETS]
