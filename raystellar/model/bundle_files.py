"""TODO."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

import raystellar
from raystellar.config import build, to_plain
from raystellar.errors import BundleError, ConfigError, InputError, OutputError
from raystellar.files import places
from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle import ARRAYS, FORMAT_VERSION, Bundle, Place, _targets, is_bundle
from raystellar.model.errormodel import ErrorModel
from raystellar.model.ood import OodScore, from_arrays
from raystellar.output.commit import commit_folder
from raystellar.preprocess.pixels import PreprocessConfig
from raystellar.schema import BUNDLE_NAME, OOD_NAME, WEIGHTS_NAME
from raystellar.targets import TARGETS


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
    if bundle.ood:
        files[OOD_NAME] = safetensors.numpy.save(bundle.ood.arrays())
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


def load_bundle(place: Place) -> Bundle:
    """Read the bundle in the folder ``place``, a path or URL, and check that it is whole.

    Raises
    ------
    BundleError : it is missing, damaged, of another format, or for other targets or another grid
    """
    path = os.fspath(place)
    found = describe(path)
    bundle = _rebuild(path, found, _load_arrays(path, WEIGHTS_NAME), _load_ood(path, found))
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


def _describe(bundle: Bundle) -> dict[str, Any]:
    """Return the content of ``bundle.json``."""
    plain = {f.name: to_plain(getattr(bundle, f.name)) for f in dataclasses.fields(bundle) if f.name not in ARRAYS}
    return {
        "format": FORMAT_VERSION,
        "model_id": bundle.model_id,
        "targets": _targets(),
        "grid": bundle.grid,
        "weights_sha256": bundle.weights_sha256,
        "ood_sha256": bundle.ood_sha256,
        **plain,
    }


def _finite(value: Any) -> Any:
    """Turn numbers that JSON has no word for (the loss of an epoch that diverged) into null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rebuild(path: str, found: dict[str, Any], weights: Mapping[str, np.ndarray], ood: OodScore | None) -> Bundle:
    kinds = {f.name: f for f in dataclasses.fields(Bundle) if f.name not in ARRAYS}
    missing = [name for name in kinds if name not in found]
    if missing:
        raise _damaged(path, f"{BUNDLE_NAME} lacks {', '.join(missing)}")
    values = {name: found[name] for name in kinds}
    try:
        values["network"] = build(NetworkConfig, values["network"], "network")
        values["preprocess"] = build(PreprocessConfig, values["preprocess"], "preprocess")
        values |= {name: tuple(float(number) for number in values[name]) for name in ("centre", "scale")}
        ranges = values["label_ranges"].items()
        if values["errors"] is not None:
            values["errors"] = build(ErrorModel, values["errors"], "errors")
        values["best_epochs"] = tuple(int(epoch) for epoch in values["best_epochs"])
        values["label_ranges"] = {name: (float(low), float(high)) for name, (low, high) in ranges}
    except (ConfigError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"{BUNDLE_NAME} holds what it should not ({error})") from None
    return Bundle(weights=weights, ood=ood, **values)


def _check(path: str, found: dict[str, Any], bundle: Bundle) -> None:
    """Refuse a bundle whose parts do not belong together."""
    if found.get("grid") != bundle.grid:
        raise BundleError(
            f"model bundle {path} names the grid {found.get('grid')} but its network and preprocessing have "
            f"{bundle.grid}; train it again"
        )
    if not len(bundle.centre) == len(bundle.scale) == len(TARGETS):
        raise _damaged(path, f"its scaler has {len(bundle.scale)} targets and needs {len(TARGETS)}")
    if found.get("weights_sha256") != bundle.weights_sha256:
        raise _damaged(path, f"{WEIGHTS_NAME} does not hold the weights that {BUNDLE_NAME} was written with")
    if found.get("ood_sha256") != bundle.ood_sha256:
        raise _damaged(path, f"{OOD_NAME} does not hold what {BUNDLE_NAME} was written with")
    if bundle.ood and bundle.ood.pixels != bundle.network.n_pixels:
        raise _damaged(path, f"{OOD_NAME} is for {bundle.ood.pixels} pixels, not {bundle.network.n_pixels}")
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


def _load_ood(path: str, found: dict[str, Any]) -> OodScore | None:
    if found.get("ood_sha256") is None:
        return None
    arrays = _load_arrays(path, OOD_NAME)
    try:
        return from_arrays(arrays)
    except ValueError as error:
        raise _damaged(path, f"{OOD_NAME} holds what it should not ({error})") from None


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
