"""Label preprocessed spectra: predict labels and errors, compute the OOD score, and set the flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from raystellar.catalog.repeats import undecided
from raystellar.preprocessing.ingest import Batch
from raystellar.quality import BAD, WARN, QualityConfig, flag_rows
from raystellar.targets import TARGET_NAMES

if TYPE_CHECKING:
    from raystellar.model.bundle import Bundle


class Labeller:
    """Turn preprocessed spectra into catalogue rows.

    Parameters
    ----------
    bundle : the model
    quality : limits of the flags
    """

    def __init__(self, bundle: Bundle, quality: QualityConfig) -> None:
        self.bundle, self._quality = bundle, quality

    def rows(self, batch: Batch) -> pa.Table:
        """Return the catalogue rows of a batch, with the columns ``schema.CATALOG``.

        The columns ``schema.REPEATS`` are null, as they depend on all rows of the catalogue.
        """
        labels, errors = self.bundle.predict_with_errors(batch.flux, batch.ivar, batch.identity["sn"].to_numpy())
        scores = self.bundle.ood_score(batch.flux, batch.ivar)
        bits = self._flags(batch, labels, scores)
        table = batch.identity
        for k, name in enumerate(TARGET_NAMES):
            table = table.append_column(name, pa.array(labels[:, k], type=pa.float32()))
            table = table.append_column(f"e_{name}", pa.array(errors[:, k], type=pa.float32()))
        table = table.append_column("ood_score", pa.array(scores, from_pandas=True))
        table = table.append_column("flags", pa.array(bits))
        table = table.append_column("flag_warn", pa.array((bits & WARN) != 0))
        table = table.append_column("flag_bad", pa.array((bits & BAD) != 0))
        table = table.append_column("model_id", pa.array([self.bundle.model_id] * len(bits), type=pa.string()))
        return undecided(table)

    def _flags(self, batch: Batch, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Return the quality bits (n,) int32 for labels (n, 3) and OOD scores (n,)."""

        def column(name: str) -> np.ndarray:
            return batch.identity[name].to_numpy()

        return flag_rows(
            self._quality,
            is_sky=batch.is_sky,
            object_class=column("object_class").astype(str),
            zwarning=column("zwarning"),
            sn=column("sn"),
            good_fraction=column("good_fraction"),
            rv_source=column("rv_source").astype(str),
            e_rv=column("e_rv"),
            ood_score=scores,
            labels=labels,
            label_ranges=np.array([self.bundle.label_ranges[name] for name in TARGET_NAMES]),
        )
