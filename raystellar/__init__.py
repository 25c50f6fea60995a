"""raystellar: from survey spectra to stellar parameters, distributed on Ray.

Four stages, each a module, a command of the program ``raystellar`` and a script under ``jobs/``:

    mocksurvey   simulate a survey as real SDSS files
    dataset      SDSS files -> preprocessed spectra in Parquet
    train        preprocessed spectra -> model bundle
    label        SDSS files + bundle -> catalogue

In a notebook, ``raystellar.load("model").label("spectra")`` gives a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from raystellar.api import Model
    from raystellar.quality import QualityConfig

__version__ = "0.1.0"


def load(bundle: str | os.PathLike[str], quality: QualityConfig | None = None) -> Model:
    """Load a model bundle to label spectra in this process, without Ray; see ``api.Model``."""
    from raystellar.api import Model

    return Model(bundle, quality)
