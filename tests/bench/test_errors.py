"""The table of z = (predicted - true) / error, compared with a known z."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raystellar.bench.errors import bins, errors_table
from raystellar.cli import main
from raystellar.errors import InputError
from raystellar.model.errormodel import DEGREES_OF_FREEDOM as NU
from raystellar.model.errormodel import HALF_68
from raystellar.targets import TARGET_NAMES

TRUE = np.sqrt((NU - 2) / NU) / HALF_68 * np.random.default_rng(0).standard_t(NU, (4000, 3))
"""Values of z (4000, 3) of errors that are right."""


def columns(z, sn=None):
    n, rng = len(z), np.random.default_rng(1)
    table = {"sn": 10.0 ** rng.uniform(1, 2, n) if sn is None else sn}
    for t, name in enumerate(TARGET_NAMES):
        table[name], table[f"e_{name}"] = rng.normal(0.0, 1.0, n), rng.uniform(0.1, 0.3, n)
        table[f"{name}_true"] = table[name] - z[:, t] * table[f"e_{name}"]
    return table


def test_the_table_holds_the_statistics_of_z():
    z = 1.05 * TRUE - 0.2
    table = columns(z)
    for t, name in enumerate(TARGET_NAMES):
        whole, *parts = bins(name, table)
        assert (whole.sorted_by, whole.stars) == ("all", 4000)
        assert whole.std == pytest.approx(z[:, t].std())
        assert whole.bias == pytest.approx(z[:, t].mean())
        assert whole.within == pytest.approx((np.mean(np.abs(z[:, t]) < 1.0), np.mean(np.abs(z[:, t]) < 2.09)))
        assert [part.sorted_by for part in parts] == ["sn"] * 4 + [name for name in TARGET_NAMES for _ in range(3)]
        for part in parts:
            mine = (table[part.sorted_by] >= part.low) & (table[part.sorted_by] <= part.high)
            assert abs(part.stars - mine.sum()) <= 1  # who is at an edge is in one part
            assert part.std == pytest.approx(z[mine, t].std(), rel=0.01)


@pytest.mark.parametrize(
    ("factor", "bad"),
    [(1.0, set()), (0.8, {"all"}), (1.25, {"all", "sn"}), (1 / np.linspace(0.75, 1.4, 4000), {"sn"})],
)
def test_groups_outside_the_limits_are_marked(factor, bad):
    sn = np.linspace(10.0, 100.0, 4000)
    z = TRUE * np.reshape(np.broadcast_to(factor, 4000), (4000, 1))
    lines = [line for name in TARGET_NAMES for line in bins(name, columns(z, sn))]
    assert {line.sorted_by for line in lines if not line.as_wanted} >= bad
    assert bool(bad) != all(line.as_wanted for line in lines)


@pytest.fixture
def truth(labelled, tmp_path):
    """Write the true labels of a catalogue, half an error below its labels and in another order."""
    parts = sorted(labelled.glob("part-*.parquet"))
    table = pa.concat_tables(pq.read_table(part) for part in parts)
    rows = {name: table[name] for name in ("plate", "mjd", "fiberid")}
    for name in TARGET_NAMES:
        rows[name] = table[name].to_numpy() - 0.5 * table[f"e_{name}"].to_numpy()
    pq.write_table(pa.table(rows).sort_by("fiberid"), tmp_path / "truth.parquet")
    return tmp_path / "truth.parquet", int((~table["flag_bad"].to_numpy()).sum())


def test_a_catalogue_is_matched_with_its_truth_and_printed(labelled, truth, capsys):
    lines = errors_table(str(labelled), str(truth[0]))
    assert lines[0].stars == truth[1]
    for line in lines:
        assert line.bias == pytest.approx(0.5, abs=0.01)
        assert line.std < 0.01
    assert main(["bench", "errors", str(labelled), str(truth[0])]) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 + 3 * 14
    assert said[1].endswith("100.0 % 100.0 %  not as wanted")


def test_tables_that_cannot_be_compared_are_refused(labelled, truth, tmp_path, capsys):
    with pytest.raises(InputError, match="cannot be read as a Parquet file of plate, mjd, fiberid and labels"):
        errors_table(str(labelled), str(tmp_path / "missing.parquet"))
    few = pq.read_table(truth[0]).slice(0, 7)
    pq.write_table(few, tmp_path / "few.parquet")
    assert main(["bench", "errors", str(labelled), str(tmp_path / "few.parquet")]) == 1
    assert "stars in common, at least 20 are needed; give the truth of the same survey" in capsys.readouterr().err
