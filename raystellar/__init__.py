"""raystellar: from survey spectra to stellar parameters, distributed on Ray.

    import raystellar

    model = raystellar.load("model")        # a folder written by ``raystellar train``
    stars = model.label("spectra")          # a table, in this process and without Ray

The stages are functions here, commands of the program ``raystellar``, and scripts in ``jobs/``:

    simulate     simulate a survey as real SDSS files
    preprocess   survey files and a label table -> preprocessed spectra in Parquet
    tune         preprocessed spectra -> the best hyperparameters
    train        preprocessed spectra -> a model bundle
    label        survey files and a model bundle -> a catalogue
    evaluate     catalogues, models and known labels -> statistics of their differences

The folders are described in README.md beside this file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from raystellar.api import Model, load
    from raystellar.stages.evaluate import evaluate
    from raystellar.stages.label import label
    from raystellar.stages.preprocess import preprocess
    from raystellar.stages.simulate import simulate
    from raystellar.stages.train import train
    from raystellar.stages.tune import tune

__version__ = "0.2.0"

__all__ = ["Model", "evaluate", "label", "load", "preprocess", "simulate", "train", "tune"]

_MODULES = {"Model": "api", "load": "api"} | {name: f"stages.{name}" for name in __all__[1:] if name != "load"}
"""Module of each public name. It is imported when the name is used, so that the program starts quickly."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'raystellar' has no attribute {name!r}")
    return getattr(import_module(f"raystellar.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
