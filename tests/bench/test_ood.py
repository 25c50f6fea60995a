"""The OOD score from end to end, on the small survey of the suite."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from raystellar.api import Model
from raystellar.bench.ood import ood_table
from raystellar.cli.parser import parser
from raystellar.model.bundle_files import load_bundle, read_description
from raystellar.quality import BAD, Flag
from raystellar.simulator.others import observe_kind


def arrays(kind, index):
    """Return a simulated spectrum of this kind as the arrays that a user passes."""
    seen = observe_kind(kind, 3, index)
    one = seen.spectrum
    return {"loglam": one.loglam, "flux": one.flux, "ivar": one.ivar, "rv": seen.rv, "spec_id": f"{kind} {index}"}


def test_noise_and_galaxies_are_flagged_and_most_stars_are_not(model):
    labeller = Model(model)
    flagged = {}
    for kind in ("noise", "sky", "absorption galaxy", "quasar", "star"):
        rows = labeller.label([arrays(kind, index) for index in range(20)])
        assert np.array_equal((rows["flags"] & Flag.OOD) != 0, rows["ood_score"] > 1.0)
        flagged[kind] = float(((rows["flags"] & Flag.OOD) != 0).mean())
    assert min(flagged["noise"], flagged["sky"], flagged["absorption galaxy"], flagged["quasar"]) >= 0.9, flagged
    assert flagged["star"] <= 0.5, flagged  # of a model that has seen 22 stars


def test_the_catalogue_holds_the_score_and_its_flag(labelled):
    rows = pq.ParquetDataset(sorted(labelled.glob("part-*.parquet"))).read(columns=["ood_score", "flags", "flag_bad"])
    scores, flags = rows["ood_score"].to_numpy(), rows["flags"].to_numpy()
    assert len(scores) == 44
    assert np.isfinite(scores).all()
    assert np.array_equal((flags & Flag.OOD) != 0, scores > 1.0)
    assert np.array_equal((flags & BAD) != 0, rows["flag_bad"].to_numpy(zero_copy_only=False))


def test_the_bundle_holds_the_check_of_the_score_on_validation_stars(model):
    check, bundle = read_description(model)["ood_check"], load_bundle(model)
    assert check == bundle.ood_check
    assert check["stars"] > 0
    assert 0.0 <= check["above"] <= 0.5
    assert len(check["above_by_sn_quartile"]) == 4


def test_the_table_has_a_line_for_each_kind(model):
    rows = {row.kind: row for row in ood_table(str(model), count=2)}
    assert rows["star"].spectra == 8
    assert rows["noise"].flagged == 1.0
    assert rows["sky"].sn < 2.0 < rows["quasar"].sn
    options = parser().parse_args(["bench", "ood", "model", "a.fits", "--count", "3"])
    assert (options.model, options.spectra, options.count) == ("model", ["a.fits"], 3)


@pytest.mark.parametrize("kind", ["star", "quasar"])
def test_a_score_does_not_depend_on_other_spectra(model, kind):
    spectra = [arrays(kind, index) for index in range(5)]
    together = Model(model).label(spectra)["ood_score"]
    assert [Model(model).label(one)["ood_score"][0] for one in spectra] == list(together)
