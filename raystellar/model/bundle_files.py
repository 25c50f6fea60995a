"""Write a model bundle to a folder and read it again.

The folder describes itself. ``weights.safetensors`` holds the weights and ``ood.safetensors`` the arrays of the OOD
score. ``bundle.json`` holds everything else: architecture, grid and preprocessing, scaler, error model, label ranges,
configuration and provenance. The folder is written whole or not at all. A folder that is damaged or does not fit is
refused with the reason. No file of a bundle is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

import raystellar
from raystellar.config import build, json_text, to_plain
from raystellar.errors import BundleError, ConfigError, InputError, OutputError
from raystellar.files import places
from raystellar.model.architecture import NetworkConfig
from raystellar.model.bundle import Bundle
from raystellar.model.errormodel import ErrorModel
from raystellar.model.ood import OodScore, from_arrays
from raystellar.output.commit import commit_folder
from raystellar.preprocessing.pixels import PreprocessConfig
from raystellar.schema import BUNDLE_NAME, OOD_NAME, WEIGHTS_NAME
from raystellar.targets import TARGETS

BUNDLE_FORMAT = 5
"""Format version of a bundle; bump it when older bundles can no longer be read."""

ARRAY_FIELDS = ("weights", "ood")
"""Fields of ``Bundle`` with arrays, which have files of their own; all other fields go to ``bundle.json``."""

TARGET_UNITS = [{"name": target.name, "unit": target.unit} for target in TARGETS]
"""Names and units of the targets that a readable bundle predicts."""


def save_bundle(folder: str | os.PathLike[str], bundle: Bundle) -> None:
    """Write ``bundle`` to ``folder``, a path or URL; replace an older bundle.

    Raises
    ------
    OutputError : ``folder`` holds files that are not a bundle, or cannot be written
    """
    path = places.absolute(places.as_path(folder))
    check_output(path)
    text = json_text(_plain(bundle))
    files = {WEIGHTS_NAME: safetensors.numpy.save(dict(bundle.weights))}
    if bundle.ood:
        files[OOD_NAME] = safetensors.numpy.save(bundle.ood.arrays())
    files[BUNDLE_NAME] = text.encode()  # last: it makes the bundle whole
    commit_folder(path, files)


def is_bundle(folder: str | os.PathLike[str]) -> bool:
    """Return whether ``folder``, a path or URL, looks like a bundle, whole or damaged."""
    return places.exists(places.join(places.as_path(folder), BUNDLE_NAME))


def check_output(folder: str) -> None:
    """Check that a bundle may be written to ``folder``, a path or URL.

    Raises
    ------
    OutputError : ``folder`` exists and is neither a bundle nor empty
    """
    if is_bundle(folder):
        return
    if places.is_taken(folder):
        raise OutputError(f"{folder} exists and is not a model bundle; name another output or remove it")


def load_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Read the bundle in ``folder``, a path or URL, and check that it is whole.

    Raises
    ------
    BundleError : the bundle is missing, damaged, of another format, or for other targets or another grid
    """
    path = places.as_path(folder)
    content = read_description(path)
    bundle = _rebuild(path, content, _load_arrays(path, WEIGHTS_NAME), _load_ood(path, content))
    _check(path, content, bundle)
    return bundle


def read_description(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of ``bundle.json`` in ``folder``, a path or URL, without weights and without torch.

    Raises
    ------
    BundleError : the bundle is missing, damaged, of another format, or for other targets
    """
    path = places.as_path(folder)
    try:
        content = json.loads(_read(path, BUNDLE_NAME))
    except ValueError as error:
        raise _damaged(path, f"{BUNDLE_NAME} is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise _damaged(path, f"{BUNDLE_NAME} is not a table")
    if content.get("format") != BUNDLE_FORMAT:
        raise BundleError(
            f"model bundle {path} has format {content.get('format')!r} and raystellar {raystellar.__version__} reads "
            f"format {BUNDLE_FORMAT}; train the model again or use the raystellar that made it"
        )
    if content.get("targets") != TARGET_UNITS:
        raise BundleError(
            f"model bundle {path} predicts {content.get('targets')} and {TARGET_UNITS} are needed; train it again"
        )
    return content


def _plain(bundle: Bundle) -> dict[str, Any]:
    """Return the content of ``bundle.json``."""
    names = [field.name for field in dataclasses.fields(bundle) if field.name not in ARRAY_FIELDS]
    return {
        "format": BUNDLE_FORMAT,
        "model_id": bundle.model_id,
        "targets": TARGET_UNITS,
        "grid": bundle.grid,
        "weights_sha256": bundle.weights_sha256,
        "ood_sha256": bundle.ood_sha256,
        **{name: to_plain(getattr(bundle, name)) for name in names},
    }


def _rebuild(path: str, content: dict[str, Any], weights: Mapping[str, np.ndarray], ood: OodScore | None) -> Bundle:
    names = [field.name for field in dataclasses.fields(Bundle) if field.name not in ARRAY_FIELDS]
    missing = [name for name in names if name not in content]
    if missing:
        raise _damaged(path, f"{BUNDLE_NAME} lacks {', '.join(missing)}")
    values = {name: content[name] for name in names}
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
        raise _damaged(path, f"{BUNDLE_NAME} has an invalid value ({error})") from None
    return Bundle(weights=weights, ood=ood, **values)


def _check(path: str, content: dict[str, Any], bundle: Bundle) -> None:
    """Refuse a bundle whose parts do not belong together."""
    if content.get("grid") != bundle.grid:
        raise BundleError(
            f"model bundle {path} names the grid {content.get('grid')} but its network and preprocessing have "
            f"{bundle.grid}; train it again"
        )
    if not len(bundle.centre) == len(bundle.scale) == len(TARGETS):
        raise _damaged(path, f"its scaler has {len(bundle.scale)} targets and needs {len(TARGETS)}")
    if content.get("weights_sha256") != bundle.weights_sha256:
        raise _damaged(path, f"the weights in {WEIGHTS_NAME} are not those that {BUNDLE_NAME} was written with")
    if content.get("ood_sha256") != bundle.ood_sha256:
        raise _damaged(path, f"the arrays in {OOD_NAME} are not those that {BUNDLE_NAME} was written with")
    if bundle.ood and bundle.ood.pixels != bundle.network.n_pixels:
        raise _damaged(path, f"{OOD_NAME} is for {bundle.ood.pixels} pixels, not {bundle.network.n_pixels}")
    if content.get("model_id") != bundle.model_id:
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


def _load_ood(path: str, content: dict[str, Any]) -> OodScore | None:
    if content.get("ood_sha256") is None:
        return None
    arrays = _load_arrays(path, OOD_NAME)
    try:
        return from_arrays(arrays)
    except ValueError as error:
        raise _damaged(path, f"{OOD_NAME} has invalid arrays ({error})") from None


def _read(path: str, name: str) -> bytes:
    """Return the content of the file ``name`` of a bundle."""
    file = places.join(path, name)
    try:
        if places.exists(file):
            return places.read_bytes(file)
        reason = f"{name} is not in it" if places.exists(path) else "there is no such folder"
    except InputError as error:
        raise BundleError(f"model bundle {path} cannot be read ({error}); check its path and permissions") from None
    raise BundleError(f"model bundle {path} is missing: {reason}; make it with the stage train")


def _damaged(path: str, reason: str) -> BundleError:
    return BundleError(f"model bundle {path} is damaged: {reason}; copy it again from where it was made or train anew")
