import warnings

import numpy as np
import pytest
from astropy.io import fits

from raystellar.errors import OutputError
from raystellar.simulator.spec_file import COADD, write_spec


@pytest.fixture
def written(tmp_path, exposed):
    fibre, spectrum = exposed()
    path = tmp_path / "spec-0266-51602-0031.fits"
    size = write_spec(str(path), fibre, spectrum)
    assert size == path.stat().st_size
    return path, fibre, spectrum


def test_astropy_reads_a_written_file_without_a_warning(written, sunlike):
    path, fibre, spectrum = written
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path) as hdus:
            hdus.verify("exception")
            for name, _ in COADD:
                assert np.array_equal(hdus[1].data[name], getattr(spectrum, name)), name
            header, row = hdus[0].header, hdus[2].data[0]
            assert header["COEFF0"] == pytest.approx(hdus[1].data["loglam"][0], abs=1e-6)
            assert (header["COEFF1"], header["PLATEID"], header["MJD"], header["FIBERID"]) == (1e-4, 266, 51602, 31)
            assert (header["PLUG_RA"], header["PLUG_DEC"]) == (fibre.ra, fibre.dec)
            assert (header["RA"], header["DEC"]) == (fibre.plate_ra, fibre.plate_dec)
            assert "RUN2D" not in header
            assert (row["RUN2D"], row["CLASS"], row["SURVEY"]) == ("26", "STAR", "segue1")
            assert (row["SOURCETYPE"], row["TARGETTYPE"]) == ("NONLEGACY", "SCIENCE")
            assert row["SN_MEDIAN_ALL"] == pytest.approx(spectrum.sn_median)
            assert row["Z"] * 299792.458 == pytest.approx(sunlike.rv - 7.3, abs=45.0)
            assert len(hdus[2].columns) == 126
            assert len(hdus[3].data) == 29
    assert 165_000 < path.stat().st_size < 175_000


def test_the_columns_are_those_of_a_real_file(written, real_data):
    with fits.open(written[0]) as ours, fits.open(real_data / "sdss_stars/spec-0266-51602-0031.fits") as theirs:
        for i in (1, 2, 3):
            columns = [[(c.name, c.format) for c in hdus[i].columns] for hdus in (ours, theirs)]
            assert columns[0] == columns[1]
        assert set(ours[0].header) - set(theirs[0].header) <= {"SIMULATE"}
        assert ours[2].data["SPECOBJID"][0] == theirs[2].data["SPECOBJID"][0]


def test_a_file_that_cannot_be_written_is_refused_and_leaves_nothing_behind(tmp_path, exposed):
    with pytest.raises(OutputError, match=r"x\.fits cannot be written"):
        write_spec(str(tmp_path / "missing" / "x.fits"), *exposed())
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="taken cannot be written"):
        write_spec(str(tmp_path / "taken"), *exposed())
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
