import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from labeltables import save

from raystellar.errors import LabelTableError
from raystellar.labels.config import LabelsConfig
from raystellar.labels.truth import read_truth
from raystellar.targets import TARGET_NAMES

N = 400
LABELS = np.column_stack([np.linspace(4500, 9000, N), np.linspace(-2, 0, N), np.linspace(1, 5, N)])
KEY = {"plate": 1 + np.arange(N) // 64, "mjd": np.full(N, 53000), "fiberid": np.arange(N) % 64}
NAMES = np.array([f"{plate}-{mjd}-{fiberid}" for plate, mjd, fiberid in zip(*KEY.values(), strict=True)])
CATALOGUE = pa.table({"spec_id": NAMES} | KEY)
KNOWN = np.random.default_rng(2).permutation(N)[: N // 2]
CONFIG = LabelsConfig()


def truth(by_name, rows=KNOWN, **more):
    """Return true labels of some spectra, named by spec_id or by plate, mjd and fiberid."""
    names = {"spec_id": NAMES} if by_name else KEY
    columns = names | {name: LABELS[:, t] for t, name in enumerate(TARGET_NAMES)} | {"e_feh": np.full(N, 0.1)} | more
    return {name: values[rows] for name, values in columns.items()}


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("file", ["truth.parquet", "truth.fits", "truth.csv"])
def test_true_labels_are_found_by_key_or_by_name(file, by_name, tmp_path):
    labels, errors = read_truth(save(truth(by_name), tmp_path / file, {}), CONFIG)(CATALOGUE)
    known = np.zeros(N, dtype=bool)
    known[KNOWN] = True
    np.testing.assert_allclose(labels[known], LABELS[known], rtol=1e-6)
    assert np.isnan(labels[~known]).all()
    np.testing.assert_allclose(errors[known, 1], 0.1, rtol=1e-6)
    assert np.isnan(errors[:, 0]).all()


def test_a_table_by_name_may_be_compressed_or_in_parts(tmp_path):
    whole = read_truth(save(truth(True), tmp_path / "truth.fits", {}), CONFIG)
    packed = tmp_path / "truth.fits.gz"
    packed.write_bytes(gzip.compress((tmp_path / "truth.fits").read_bytes()))
    (tmp_path / "parts").mkdir()
    for number, rows in enumerate((KNOWN[:50], KNOWN[50:])):
        pq.write_table(pa.table(truth(True, rows)), tmp_path / "parts" / f"{number}.parquet")
    for path in (packed, tmp_path / "parts", tmp_path / "parts" / "*.parquet"):
        again = read_truth(str(path), CONFIG)
        for one, other in zip(again(CATALOGUE), whole(CATALOGUE), strict=True):
            np.testing.assert_array_equal(one, other)


def test_names_that_are_numbers_are_exact(tmp_path):
    names = 2**62 + np.arange(N)
    for file in ("truth.fits", "truth.parquet", "truth.csv"):
        labels, _ = read_truth(save(truth(True, spec_id=names), tmp_path / file, {}), CONFIG)(
            pa.table({"spec_id": [str(name) for name in names]})
        )
        np.testing.assert_array_equal(labels[KNOWN], LABELS[KNOWN].astype(np.float32))
        assert np.isnan(labels).any(axis=1).sum() == N - len(KNOWN)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_of_two_rows_of_a_spectrum_the_one_with_the_higher_sn_counts(order, tmp_path):
    table = truth(True, np.array([0, 1, 0])[order], sn=np.full(N, 20.0))
    table["teff"] = np.array([5000.0, 6000.0, 7000.0])[order]
    table["sn"] = np.array([30.0, 20.0, 20.0])[order]
    labels, _ = read_truth(save(table, tmp_path / "truth.fits", {}), CONFIG)(CATALOGUE)
    assert labels[:2, 0].tolist() == [5000.0, 6000.0]


def test_a_path_that_several_rows_share_names_none_of_them(tmp_path):
    table = {"path": ["a/plate.fits", "a/one.fits"]} | {name: LABELS[:2, t] for t, name in enumerate(TARGET_NAMES)}
    rows = pa.table({"path": ["plate.fits", "plate.fits", "x/one.fits"], "spec_id": ["1", "2", "3"]})
    labels, _ = read_truth(save(table, tmp_path / "truth.csv", {}), CONFIG)(rows)
    assert np.isnan(labels).all(axis=1).tolist() == [True, True, False]


def test_rows_without_a_name_are_the_truth_of_no_spectrum(tmp_path):
    table = truth(True, np.array([0, 1]))
    table["spec_id"] = np.array(["", "2-53000-1"])
    labels, _ = read_truth(save(table, tmp_path / "truth.fits", {}), CONFIG)(pa.table({"spec_id": ["", "2-53000-1"]}))
    assert np.isnan(labels[0]).all()
    assert labels[1, 0] == np.float32(LABELS[1, 0])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"spec_id": ["a"], "teff": [5000.0], "feh": [0.0]}, "has no column for logg"),
        ({"spec_id": ["", " "]} | {name: [1.0, 1.0] for name in TARGET_NAMES}, "none of 2 rows names a spectrum"),
        ({name: values[:0] for name, values in truth(True).items()}, "holds no rows"),
        (truth(False) | {"teff": np.full(len(KNOWN), 300.0)}, "none of 200 rows has labels to compare with"),
        ({"a": [1]}, "not a table of labels"),
    ],
)
def test_a_table_without_labels_is_refused(table, message, tmp_path):
    path = tmp_path / "truth.fits"
    Table(table).write(path)
    with pytest.raises(LabelTableError, match=message):
        read_truth(str(path), CONFIG)
    with pytest.raises(LabelTableError, match="does not exist"):
        read_truth(str(tmp_path / "none.fits"), CONFIG)
