"""The model bundle: a folder that describes itself.

``weights.safetensors`` holds the weights, ``novelty.safetensors`` what the training spectra are like, ``bundle.json``
everything else that is needed to apply and to judge them: architecture, grid and preprocessing, scaler, error model,
label ranges, configuration, provenance. Written to a temporary folder and renamed; refused with the reason where it
does not fit. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import safetensors
import safetensors.numpy

import raystellar
from raystellar import places
from raystellar.config import build, digest, to_plain
from raystellar.errors import BundleError, ConfigError, InputError, OutputError
from raystellar.model.architecture import NetworkConfig
from raystellar.model.commit import commit_folder
from raystellar.model.errormodel import ErrorModel
from raystellar.model.novelty import Novelty, from_arrays
from raystellar.schema import BUNDLE_NAME, NOVELTY_NAME, WEIGHTS_NAME
from raystellar.targets import TARGETS

if TYPE_CHECKING:
    from raystellar.model.network import Ensemble

FORMAT_VERSION = 4
"""Raised when a reader of the old format would go wrong."""

Place = Union[str, "os.PathLike[str]"]
"""A path or URL."""

GRID_KEYS = {"start": "loglam_start", "stop": "loglam_stop"}
"""The grid's ends and where the preprocessing settings name them."""


ARRAYS = ("weights", "novelty")
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

    preprocess: dict[str, Any]
    """Settings of the preprocessing that made the training spectra, as plain values."""

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

    novelty: Novelty | None = field(default=None, repr=False)
    """What scores how unlike the training spectra a spectrum is; None where no noise was known to learn from."""

    novelty_check: dict[str, Any] = field(default_factory=dict, repr=False)
    """How many validation spectra score above the limit, see ``fit.novelty.assess``."""

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
        return {**{end: self.preprocess[key] for end, key in GRID_KEYS.items()}, "n": self.network.n_pixels}

    @cached_property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights: names, shapes and values, in the order of names."""
        return _sha256(self.weights)

    @cached_property
    def novelty_sha256(self) -> str | None:
        """SHA-256 of the arrays of the novelty score, as of the weights; None where there are none."""
        return _sha256(self.novelty.arrays()) if self.novelty else None

    @property
    def model_id(self) -> str:
        """Digest of what decides a row: weights, architecture, scaler, preprocessing, errors, novelty."""
        arrays = [self.weights_sha256, self.novelty_sha256]
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
        """Return how unlike the training spectra (n,) float32 each spectrum is, see ``novelty.Novelty.score``.

        NaN where the training spectra had no noise to learn from.
        """
        return self.novelty.score(flux, ivar) if self.novelty else np.full(len(flux), np.nan, dtype=np.float32)


def _sha256(arrays: Mapping[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        total.update(f"{name} {array.dtype} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def save_bundle(place: Place, bundle: Bundle) -> None:
    """Write ``bundle`` to the folder ``place``, a path or URL, instead of an older bundle if there is one.

    Raises
    ------
    OutputError : there is something else at ``place``, or it cannot be written
    """
    place = places.absolute(os.fspath(place))
    check_output(place)
    text = json.dumps(_finite(_describe(bundle)), indent=1, allow_nan=False)
    files = {WEIGHTS_NAME: safetensors.numpy.save(dict(bundle.weights))}
    if bundle.novelty:
        files[NOVELTY_NAME] = safetensors.numpy.save(bundle.novelty.arrays())
    files[BUNDLE_NAME] = text.encode()  # last, which makes it whole
    commit_folder(place, files)


def check_output(place: str) -> None:
    """Refuse to put a bundle where something else is.

    Raises
    ------
    OutputError : ``place`` exists and is neither a bundle nor an empty folder
    """
    if is_bundle(place):
        return
    if places.is_taken(place):
        raise OutputError(f"{place} exists and is not a model bundle; name another output or remove it")


def is_bundle(place: Place) -> bool:
    """Return whether ``place`` is a folder that looks like a bundle, whole or not."""
    return places.exists(places.join(os.fspath(place), BUNDLE_NAME))


def load_bundle(place: Place) -> Bundle:
    """Read the bundle in the folder ``place``, a path or URL, and check that it is whole.

    Raises
    ------
    BundleError : it is missing, damaged, of another format, or for other targets or another grid
    """
    path = os.fspath(place)
    found = describe(path)
    bundle = _rebuild(path, found, _load_arrays(path, WEIGHTS_NAME), _load_novelty(path, found))
    _check(path, found, bundle)
    return bundle


def describe(place: Place) -> dict[str, Any]:
    """Return ``bundle.json`` of the bundle ``place``, without the weights and without torch.

    Raises
    ------
    BundleError : it is missing, damaged, of another format, or for other targets
    """
    path = os.fspath(place)
    try:
        found = json.loads(_read(path, BUNDLE_NAME))
    except ValueError as error:
        raise _damaged(path, f"{BUNDLE_NAME} is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise _damaged(path, f"{BUNDLE_NAME} is not a table")
    if found.get("format") != FORMAT_VERSION:
        raise BundleError(
            f"model bundle {path} has format {found.get('format')!r} and raystellar {raystellar.__version__} reads "
            f"format {FORMAT_VERSION}; train the model again or use the raystellar that made it"
        )
    if found.get("targets") != _targets():
        raise BundleError(
            f"model bundle {path} predicts {found.get('targets')} and {_targets()} are needed; train it again"
        )
    return found


def _targets() -> list[dict[str, str]]:
    return [{"name": target.name, "unit": target.unit} for target in TARGETS]


def _describe(bundle: Bundle) -> dict[str, Any]:
    """Return the content of ``bundle.json``."""
    plain = {f.name: to_plain(getattr(bundle, f.name)) for f in dataclasses.fields(bundle) if f.name not in ARRAYS}
    return {
        "format": FORMAT_VERSION,
        "model_id": bundle.model_id,
        "targets": _targets(),
        "grid": bundle.grid,
        "weights_sha256": bundle.weights_sha256,
        "novelty_sha256": bundle.novelty_sha256,
        **plain,
    }


def _finite(value: Any) -> Any:
    """Turn numbers that JSON has no word for (the loss of an epoch that diverged) into null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rebuild(path: str, found: dict[str, Any], weights: Mapping[str, np.ndarray], novelty: Novelty | None) -> Bundle:
    kinds = {f.name: f for f in dataclasses.fields(Bundle) if f.name not in ARRAYS}
    missing = [name for name in kinds if name not in found]
    if missing:
        raise _damaged(path, f"{BUNDLE_NAME} lacks {', '.join(missing)}")
    values = {name: found[name] for name in kinds}
    try:
        values["network"] = build(NetworkConfig, values["network"], "network")
        values |= {name: tuple(float(number) for number in values[name]) for name in ("centre", "scale")}
        ranges = values["label_ranges"].items()
        if values["errors"] is not None:
            values["errors"] = build(ErrorModel, values["errors"], "errors")
        values["best_epochs"] = tuple(int(epoch) for epoch in values["best_epochs"])
        values["label_ranges"] = {name: (float(low), float(high)) for name, (low, high) in ranges}
    except (ConfigError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"{BUNDLE_NAME} holds what it should not ({error})") from None
    return Bundle(weights=weights, novelty=novelty, **values)


def _check(path: str, found: dict[str, Any], bundle: Bundle) -> None:
    """Refuse a bundle whose parts do not belong together."""
    if not isinstance(bundle.preprocess, dict) or not set(GRID_KEYS.values()) <= set(bundle.preprocess):
        raise _damaged(path, f"{BUNDLE_NAME} has preprocess without {' and '.join(GRID_KEYS.values())}")
    if found.get("grid") != bundle.grid:
        raise BundleError(
            f"model bundle {path} names the grid {found.get('grid')} but its network and preprocessing have "
            f"{bundle.grid}; train it again"
        )
    if not len(bundle.centre) == len(bundle.scale) == len(TARGETS):
        raise _damaged(path, f"its scaler has {len(bundle.scale)} targets and needs {len(TARGETS)}")
    if found.get("weights_sha256") != bundle.weights_sha256:
        raise _damaged(path, f"{WEIGHTS_NAME} does not hold the weights that {BUNDLE_NAME} was written with")
    if found.get("novelty_sha256") != bundle.novelty_sha256:
        raise _damaged(path, f"{NOVELTY_NAME} does not hold what {BUNDLE_NAME} was written with")
    if bundle.novelty and bundle.novelty.pixels != bundle.network.n_pixels:
        raise _damaged(path, f"{NOVELTY_NAME} is for {bundle.novelty.pixels} pixels, not {bundle.network.n_pixels}")
    if found.get("model_id") != bundle.model_id:
        raise _damaged(path, f"{BUNDLE_NAME} was changed after it was written")
    try:
        _ = bundle.module
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise _damaged(path, f"its weights do not fit its architecture ({reason})") from None


def _load_arrays(path: str, name: str) -> dict[str, np.ndarray]:
    data = _read(path, name)
    try:
        return dict(safetensors.numpy.load(data))
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise _damaged(path, f"{name} cannot be read ({error})") from None


def _load_novelty(path: str, found: dict[str, Any]) -> Novelty | None:
    if found.get("novelty_sha256") is None:
        return None
    arrays = _load_arrays(path, NOVELTY_NAME)
    try:
        return from_arrays(arrays)
    except ValueError as error:
        raise _damaged(path, f"{NOVELTY_NAME} holds what it should not ({error})") from None


def _read(path: str, name: str) -> bytes:
    place = places.join(path, name)
    try:
        if places.exists(place):
            return places.read_bytes(place)
        what = f"{name} is not in it" if places.exists(path) else "there is no such folder"
    except InputError as error:
        raise BundleError(f"model bundle {path} cannot be read ({error}); check its path and permissions") from None
    raise BundleError(f"model bundle {path} is missing: {what}; make it with the stage train")


def _damaged(path: str, what: str) -> BundleError:
    return BundleError(f"model bundle {path} is damaged: {what}; copy it again from where it was made or train anew")
