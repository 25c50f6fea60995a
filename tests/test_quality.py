import numpy as np
import pytest

from raystellar.quality import BAD, WARN, Flag, QualityConfig, flag_rows

GOOD = {
    "is_sky": False, "object_class": "STAR", "zwarning": 0, "sn": 40.0, "good_fraction": 0.97, "rv_source": "pipeline",
    "e_rv": 4.0, "ood_score": 0.1,
    "labels": (5800.0, 0.0, 4.4),
}  # fmt: skip
RANGES = np.array([[4000.0, 9000.0], [-4.0, 0.6], [0.2, 5.0]])


def bits(**changes):
    row = GOOD | changes
    return Flag(int(flag_rows(QualityConfig(), label_ranges=RANGES, **{k: np.array([v]) for k, v in row.items()})[0]))


def test_a_good_star_has_no_flag():
    assert bits() == 0


def test_each_fault_sets_its_own_bit():
    assert bits(is_sky=True) == Flag.SKY
    assert bits(object_class="GALAXY") == Flag.NOT_STAR
    assert bits(object_class="") == Flag.NOT_STAR
    assert bits(zwarning=4) == Flag.ZWARNING
    assert bits(zwarning=16) == 0  # many outliers, alone
    assert bits(sn=9.9) == Flag.LOW_SN
    assert bits(sn=np.nan) == Flag.LOW_SN
    assert bits(good_fraction=0.5) == Flag.FEW_GOOD_PIXELS
    assert bits(good_fraction=0.49) == Flag.FEW_GOOD_PIXELS | Flag.BAD_PIXELS
    assert bits(good_fraction=np.nan) == Flag.FEW_GOOD_PIXELS | Flag.BAD_PIXELS
    assert bits(rv_source="none", e_rv=np.nan) == Flag.NO_RV
    assert bits(ood_score=1.1) == Flag.OOD
    assert bits(ood_score=np.nan) == Flag.OOD  # not known
    assert bits(e_rv=31.0) == Flag.RV_UNCERTAIN
    assert bits(e_rv=31.0, rv_source="table") == Flag.RV_UNCERTAIN
    assert bits(e_rv=np.nan) == Flag.RV_UNCERTAIN  # the fit of the redshift failed
    assert bits(e_rv=np.nan, rv_source="given") == 0  # the user vouches for it
    assert bits(labels=(9100.0, 0.0, 4.4)) == Flag.TEFF_RANGE
    assert bits(labels=(5800.0, -4.1, 4.4)) == Flag.FEH_RANGE
    assert bits(labels=(5800.0, 0.0, np.nan)) == Flag.LOGG_RANGE


def test_the_limits_can_be_set():
    row = {name: np.array([value]) for name, value in (GOOD | {"ood_score": 3.0, "e_rv": 80.0}).items()}
    config = QualityConfig(max_ood_score=4.0, max_rv_error=100.0)
    assert flag_rows(config, label_ranges=RANGES, **row)[0] == 0
    for name in ("max_ood_score", "max_rv_error"):
        with pytest.raises(ValueError, match=f"{name} = 0 must be above 0"):
            QualityConfig(**{name: 0})


def test_every_bit_is_either_bad_or_a_warning():
    assert BAD & WARN == 0
    assert sum(Flag) == BAD | WARN
