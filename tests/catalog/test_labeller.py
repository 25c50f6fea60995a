"""Rows of the catalogue hold the labels, errors and scores of the bundle, and the flags that follow from them."""

from dataclasses import replace

import numpy as np
import pytest

from raystellar.bench.kernels import admit_by_pipeline
from raystellar.catalog.labeller import Labeller
from raystellar.model.bundle_files import load_bundle
from raystellar.preprocessing.ingest import ingest
from raystellar.preprocessing.pixels import Preprocessor
from raystellar.quality import BAD, WARN, Flag, QualityConfig
from raystellar.schema import CATALOG, REPEATS
from raystellar.spectra import Slice
from raystellar.targets import TARGET_NAMES


@pytest.fixture(scope="module")
def bundle(model):
    return load_bundle(str(model))


@pytest.fixture(scope="module")
def batch(survey, bundle):
    paths = sorted(str(path) for path in (survey / "spectra").rglob("*.fits"))[:12]
    return ingest([Slice(path) for path in paths], Preprocessor(bundle.preprocess), admit_by_pipeline)


def test_columns_and_values_are_those_of_the_schema_and_the_bundle(batch, bundle):
    rows = Labeller(bundle, QualityConfig()).rows(batch)
    assert rows.column_names == [column.name for column in CATALOG]
    labels, errors = bundle.predict_with_errors(batch.flux, batch.ivar, batch.identity["sn"].to_numpy())
    for k, name in enumerate(TARGET_NAMES):
        np.testing.assert_array_equal(rows[name].to_numpy(), labels[:, k].astype(np.float32))
        np.testing.assert_array_equal(rows[f"e_{name}"].to_numpy(), errors[:, k].astype(np.float32))
    np.testing.assert_array_equal(rows["ood_score"].to_numpy(), bundle.ood_score(batch.flux, batch.ivar))
    assert set(rows["model_id"].to_pylist()) == {bundle.model_id}
    assert all(rows[column.name].null_count == len(rows) for column in REPEATS)


def test_flags_follow_the_limits_and_the_two_summaries_follow_the_flags(batch, bundle):
    strict = replace(QualityConfig(), min_sn=1e9, max_ood_score=1e-9)
    for config, low_sn in ((QualityConfig(min_sn=0.0), False), (strict, True)):
        rows = Labeller(bundle, config).rows(batch)
        flags = rows["flags"].to_numpy()
        assert ((flags & Flag.LOW_SN) != 0).tolist() == [low_sn] * len(rows)
        assert rows["flag_bad"].to_pylist() == ((flags & BAD) != 0).tolist()
        assert rows["flag_warn"].to_pylist() == ((flags & WARN) != 0).tolist()
    scores = rows["ood_score"].to_numpy()
    assert (((flags & Flag.OOD) != 0) == (scores > 1e-9)).all()
    assert (scores > 1e-9).any()
