import numpy as np
import pytest
from labeltables import one_row, save

from raystellar.errors import LabelTableError
from raystellar.labels.config import LabelsConfig
from raystellar.labels.stars import group_stars
from raystellar.labels.table import read_labels

CONFIG = LabelsConfig()


def test_stars_are_the_friends_of_friends_of_a_naive_loop(monkeypatch):
    rng = np.random.default_rng(3)
    n = 300
    centre_ra, centre_dec = rng.uniform(0, 360, 60), np.degrees(np.arcsin(rng.uniform(-1, 1, 60)))
    centre_ra[:5], centre_dec[:5] = 359.99999, np.linspace(-1, 1, 5)  # across the meridian
    centre_dec[5:8] = [89.9999, -89.9999, 90.0]
    which = rng.integers(0, 60, n)
    dec = np.clip(centre_dec[which] + rng.normal(0, 2 / 3600, n), -90, 90)
    spread = rng.normal(0, 2 / 3600, n) / np.maximum(np.cos(np.radians(dec)), 1e-4)
    ra = (centre_ra[which] + spread) % 360
    ra[7], dec[7] = ra[6], dec[6]
    ra[290:], dec[290:] = np.nan, np.nan
    key = rng.permutation(n) * 10**9 + 1
    star = group_stars(key, ra, dec, 2.0, "t")
    np.testing.assert_array_equal(star, naive_stars(key, ra, dec, 2.0))
    assert 20 < len(np.unique(star)) < 250
    order = rng.permutation(n)
    np.testing.assert_array_equal(group_stars(key[order], ra[order], dec[order], 2.0, "t"), star[order])
    monkeypatch.setattr("raystellar.labels.stars.ZONE", 7)
    np.testing.assert_array_equal(group_stars(key, ra, dec, 2.0, "t"), star)


def naive_stars(key, ra, dec, radius):
    star = key.copy()
    a, d = np.radians(ra), np.radians(dec)
    for _ in range(len(key)):
        before = star.copy()
        for i in range(len(key)):
            half = np.sin((d - d[i]) / 2) ** 2 + np.cos(d) * np.cos(d[i]) * np.sin((a - a[i]) / 2) ** 2
            near = np.degrees(2 * np.arcsin(np.sqrt(half))) * 3600 <= radius
            near[i] = True
            star[near] = star[near].min()
        if (star == before).all():
            return star


def test_plate_centres_are_refused(tmp_path):
    table = {name: np.repeat(values, 40) for name, values in one_row(ra=10.0, dec=0.0).items()}
    table["fiberid"] = np.arange(40)
    with pytest.raises(LabelTableError, match="centre; give PLUG_RA"):
        read_labels(save(table, tmp_path / "t.csv"), CONFIG)
