import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from raystellar.errors import OutputError
from raystellar.simulate.instrument import draw_conditions, observe
from raystellar.simulate.plate_file import write_plate_files
from raystellar.simulate.population import Star
from raystellar.simulate.spec_file import COADD, write_atomic, write_spec
from raystellar.simulate.specobj import layout, specobj_row
from raystellar.simulate.spectro1d import Fibre, classify_sky, classify_star, specobj_id

LOGLAM = np.arange(142000, 159400) * 2.5e-5
STAR = Star(index=0, teff=5800.0, logg=4.4, feh=-0.5, alpha=0.1, vmicro=1.0, rv=120.0, ebv=0.05, g=17.0, sn=40.0)
REAL = Path(os.environ.get("RAYSTELLAR_TEST_DATA", Path(__file__).parents[3] / "shared/data"))


def exposed(fibre=31, star=STAR):
    rng = np.random.default_rng(fibre)
    fields = classify_sky(rng) if star is None else classify_star(star, rng)
    target = Fibre(
        plate=266,
        mjd=51602,
        fiberid=fibre,
        ra=147.321071,
        dec=-0.006576,
        plate_ra=145.89219,
        plate_dec=0.059372,
        **fields,
    )
    rest = None if star is None else 10.0 ** (-2.0 * LOGLAM)
    return target, observe(LOGLAM, rest, star, draw_conditions(1, 0), fibre, rng)


@pytest.fixture
def written(tmp_path):
    target, spectrum = exposed()
    path = tmp_path / "spec-0266-51602-0031.fits"
    size = write_spec(str(path), target, spectrum)
    assert size == path.stat().st_size
    return path, target, spectrum


def test_astropy_reads_what_was_written_without_a_warning(written):
    path, target, spectrum = written
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path) as hdus:
            hdus.verify("exception")
            for name, _ in COADD:
                assert np.array_equal(hdus[1].data[name], getattr(spectrum, name)), name
            header, row = hdus[0].header, hdus[2].data[0]
            assert header["COEFF0"] == pytest.approx(hdus[1].data["loglam"][0], abs=1e-6)
            assert (header["COEFF1"], header["PLATEID"], header["MJD"], header["FIBERID"]) == (1e-4, 266, 51602, 31)
            assert (header["PLUG_RA"], header["PLUG_DEC"]) == (target.ra, target.dec)
            assert (header["RA"], header["DEC"]) == (target.plate_ra, target.plate_dec)
            assert "RUN2D" not in header
            assert (row["RUN2D"], row["CLASS"], row["SURVEY"]) == ("26", "STAR", "segue1")
            assert (row["SOURCETYPE"], row["TARGETTYPE"]) == ("NONLEGACY", "SCIENCE")
            assert row["SN_MEDIAN_ALL"] == pytest.approx(spectrum.sn_median)
            assert row["Z"] * 299792.458 == pytest.approx(STAR.rv - 7.3, abs=45.0)
            assert len(hdus[2].columns) == 126
            assert len(hdus[3].data) == 29
    assert 165_000 < path.stat().st_size < 175_000


def test_the_columns_are_those_of_a_real_file(written):
    real = REAL / "sdss_stars/spec-0266-51602-0031.fits"
    if not real.exists():
        pytest.skip(f"no real SDSS files in {REAL}: set RAYSTELLAR_TEST_DATA")
    with fits.open(written[0]) as ours, fits.open(real) as theirs:
        for i in (1, 2, 3):
            columns = [[(c.name, c.format) for c in hdus[i].columns] for hdus in (ours, theirs)]
            assert columns[0] == columns[1]
        assert set(ours[0].header) - set(theirs[0].header) <= {"SIMULATE"}
        assert ours[2].data["SPECOBJID"][0] == theirs[2].data["SPECOBJID"][0]


def test_identifiers_are_the_bit_fields_of_sdss():
    target = Fibre(plate=266, mjd=51602, fiberid=31, ra=0.0, dec=0.0, plate_ra=0.0, plate_dec=0.0)
    assert specobj_id(target) == 299497923312379904
    assert specobj_id(target, with_fibre=False) == 299489402097264640


def test_every_sky_fibre_is_marked_and_many_pass_for_stars():
    classes = []
    for seed in range(300):
        fields = classify_sky(np.random.default_rng(seed))
        target = Fibre(plate=1, mjd=51602, fiberid=1, ra=0.0, dec=0.0, plate_ra=0.0, plate_dec=0.0, **fields)
        row = specobj_row(target, None)[0]
        assert row["ZWARNING"] & 1
        assert row["SOURCETYPE"].strip() == b"SKY"
        classes.append(fields["object_class"])
    assert 0.3 < classes.count("STAR") / 300 < 0.55


def test_an_unwritable_place_is_one_clear_sentence(tmp_path):
    with pytest.raises(OutputError, match=r"x\.fits cannot be written"):
        write_atomic(str(tmp_path / "missing" / "x.fits"), b"")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError):
        write_atomic(str(tmp_path / "taken"), b"abc")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]  # nothing half-written stays


def test_plate_files_hold_the_rows_of_the_spectra(tmp_path):
    fibres = [exposed(5), exposed(300), exposed(640, star=None)]
    size = write_plate_files(str(tmp_path), fibres)
    assert size == sum(path.stat().st_size for path in tmp_path.iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with (
            fits.open(tmp_path / "spPlate-0266-51602.fits") as plate,
            fits.open(tmp_path / "spZbest-0266-51602.fits") as best,
        ):
            plate.verify("exception")
            best.verify("exception")
            assert len(plate[0].data) == len(plate[5].data) == len(best[1].data) == 640
            k0 = round(plate[0].header["COEFF0"] * 1e4)
            for target, spectrum in fibres:
                row, cut = target.fiberid - 1, slice(spectrum.k0 - k0, spectrum.k0 - k0 + len(spectrum.flux))
                for i, name in ((0, "flux"), (1, "ivar"), (2, "and_mask"), (3, "or_mask"), (4, "wdisp"), (6, "sky")):
                    assert np.array_equal(plate[i].data[row, cut], getattr(spectrum, name))
                assert not plate[1].data[row, : cut.start].any()
                assert not plate[1].data[row, cut.stop :].any()
                assert best[1].data["FIBERID"][row] == plate[5].data["FIBERID"][row] == target.fiberid
                assert best[1].data["CLASS"][row] == target.object_class
                assert best[1].data["Z"][row] == np.float32(target.z)
            assert plate[5].data["OBJTYPE"][[4, 639, 10]].tolist() == ["NONLEGACY", "SKY", "NA"]
            assert plate[2].data[10].min() == 1
            assert not plate[1].data[10].any()


def test_the_list_of_columns_is_whole():
    content = layout()
    assert [len(content[name]) for name in ("specobj", "spzline", "lines")] == [126, 19, 29]
