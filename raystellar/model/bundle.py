"""The trained model with everything needed to apply and to judge it.

A ``Bundle`` holds the networks, their preprocessing, the scaler of the targets, the error model, the OOD score, the
label ranges, the configuration and the provenance. ``bundle_files`` writes it to a folder and reads it again. Torch is
loaded when a bundle first predicts.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

import raystellar
from raystellar.config import digest
from raystellar.errors import BundleError, ConfigError
from raystellar.model.architecture import NetworkConfig
from raystellar.model.errormodel import ErrorModel
from raystellar.model.ood import OodScore
from raystellar.preprocessing.pixels import PreprocessConfig

if TYPE_CHECKING:
    from raystellar.model.network import Ensemble


def _versions() -> dict[str, str]:
    """Return the versions of the libraries on which the numbers depend."""
    return {name: importlib.metadata.version(name) for name in ("numpy", "torch", "ray")}


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Fitted networks with everything needed to apply and to judge them."""

    network: NetworkConfig
    """Architecture of each member network."""

    weights: Mapping[str, np.ndarray] = field(repr=False)
    """State of all members by name, float32, see ``network.joined``."""

    preprocess: PreprocessConfig
    """Preprocessing of the training spectra."""

    centre: tuple[float, ...]
    """Median of the training labels per target, in the units of the targets."""

    scale: tuple[float, ...]
    """Interquartile range of the training labels per target, in the units of the targets."""

    label_ranges: dict[str, tuple[float, float]]
    """Least and greatest training label per target, in the units of the targets."""

    errors: ErrorModel | None = None
    """Model of the errors of predictions, see ``fit.errormodel``; None where it was not calibrated."""

    calibration: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    """Agreement of the predicted errors with the residuals of the validation set, see ``fit.errormodel.assess``."""

    ood: OodScore | None = field(default=None, repr=False)
    """OOD score (out-of-distribution: unlike the training spectra); None where the noise of the spectra was unknown."""

    ood_check: dict[str, Any] = field(default_factory=dict, repr=False)
    """Shares of validation spectra with an OOD score above the limit, see ``fit.ood.assess``."""

    validation: dict[str, dict[str, float]] = field(default_factory=dict)
    """Errors on the validation set per target, see ``fit.metrics``."""

    history: list[list[dict[str, Any]]] = field(default_factory=list, repr=False)
    """Records of the epochs, one list per member."""

    best_epochs: tuple[int, ...] = ()
    """Epoch of the kept weights of each member, from 1."""

    config: dict[str, Any] = field(default_factory=dict, repr=False)
    """Resolved configuration of the run."""

    data_hash: str = ""
    """Digest of the dataset."""

    fit_id: str = ""
    """Digest of network, fit settings and dataset; a run with the same digest reuses this bundle."""

    seed: int = 0
    """Seed of the fit."""

    raystellar_version: str = raystellar.__version__
    """Version of raystellar that made the bundle."""

    versions: dict[str, str] = field(default_factory=_versions)
    """Versions of the libraries that made the bundle, by name."""

    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    """Time of creation, UTC, ISO 8601."""

    @property
    def grid(self) -> dict[str, Any]:
        """Grid of the spectra: ``start`` and ``stop`` [log10 angstrom], both included, and ``n`` points."""
        return {"start": self.preprocess.loglam_start, "stop": self.preprocess.loglam_stop, "n": self.network.n_pixels}

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 of the names, types, shapes and values of the weights, in the order of names."""
        return _sha256(self.weights)

    @cached_property
    def ood_sha256(self) -> str | None:
        """SHA-256 of the arrays of the OOD score, computed as ``weights_sha256``; None without an OOD score."""
        return _sha256(self.ood.arrays()) if self.ood else None

    @property
    def model_id(self) -> str:
        """Digest of everything that decides a catalogue row.

        The digest covers weights, architecture, scaler, preprocessing, error model and OOD score.
        """
        arrays = [self.weights_sha256, self.ood_sha256]
        return digest([arrays, self.network, self.centre, self.scale, self.preprocess, self.errors])

    @property
    def members(self) -> int:
        """Number of networks of which the model is the mean."""
        return len({name.split(".")[1] for name in self.weights if name.startswith("members.")})

    @cached_property
    def module(self) -> Ensemble:
        """Networks as one torch module on the CPU, in evaluation mode."""
        import torch

        from raystellar.model.network import Ensemble

        module = Ensemble(self.network, self.members)
        module.load_state_dict({name: torch.tensor(array) for name, array in self.weights.items()})
        return module.eval()

    def on(self, device: str) -> Bundle:
        """Move the networks to ``device`` and return the bundle.

        Raises
        ------
        ConfigError : ``device`` is a GPU and torch sees no GPU
        """
        import torch

        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise ConfigError("a GPU was asked for and torch sees no GPU here; set resources.gpus_per_actor=0")
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
        """Return targets (n, 3) float64, equal to those of ``predict``, and their errors (n, 3), in their own units.

        Parameters
        ----------
        flux : (n, n_pixels) standardised
        ivar : (n, blocks) inverse variance of ``flux`` in blocks of pixels; 0 where no pixel is good
        sn : (n,) median S/N per pixel; NaN where it is unknown

        Raises
        ------
        BundleError : the bundle has no error model
        """
        from raystellar.model.uncertainty import predict_with_variances

        if self.errors is None:
            raise BundleError(f"model {self.model_id} was made without errors of its predictions; train it again")
        predicted, variances = predict_with_variances(self.module, flux, ivar)
        scaled = predicted.astype(np.float64)
        return scaled * self.scale + self.centre, self.errors(variances, scaled, sn) * self.scale

    def ood_score(self, flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
        """Return the OOD score (n,) float32 of each spectrum, see ``ood.OodScore.score``.

        All scores are NaN where the bundle has no OOD score.
        """
        return self.ood.score(flux, ivar) if self.ood else np.full(len(flux), np.nan, dtype=np.float32)


def _sha256(arrays: Mapping[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
