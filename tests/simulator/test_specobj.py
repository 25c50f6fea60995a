import numpy as np

from raystellar.simulator.specobj import layout, specobj_row
from raystellar.simulator.spectro1d import Fibre, classify_sky


def test_the_list_of_columns_is_complete():
    content = layout()
    assert [len(content[name]) for name in ("specobj", "spzline", "lines")] == [126, 19, 29]


def test_every_sky_fibre_is_marked_as_sky():
    for seed in range(50):
        results = classify_sky(np.random.default_rng(seed))
        fibre = Fibre(plate=1, mjd=51602, fiberid=1, ra=0.0, dec=0.0, plate_ra=0.0, plate_dec=0.0, **results)
        row = specobj_row(fibre, None)[0]
        assert row["ZWARNING"] & 1
        assert row["SOURCETYPE"].strip() == b"SKY"


def test_a_row_has_values_of_the_spectrum(exposed):
    fibre, spectrum = exposed()
    row, good = specobj_row(fibre, spectrum)[0], spectrum.ivar > 0
    sn = spectrum.flux * np.sqrt(spectrum.ivar)
    wave = 10.0 ** spectrum.loglam.astype(float)
    band = good & (wave > 5500.0) & (wave < 6900.0)
    assert abs(row["SN_MEDIAN"][2] - np.median(sn[band])) < 0.1
    assert row["DOF"] == good.sum() - 10
    assert row["WAVEMIN"] == np.float32(wave[good][0])
    assert row["ANYORMASK"] == np.bitwise_or.reduce(spectrum.or_mask)
