import warnings

import numpy as np
from astropy.io import fits

from raystellar.simulator.plate_file import write_plate_files


def test_plate_files_have_the_rows_of_the_spectra(tmp_path, exposed):
    exposures = [exposed(5), exposed(300), exposed(640, sky=True)]
    size = write_plate_files(str(tmp_path), exposures)
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
            for fibre, spectrum in exposures:
                row, cut = fibre.fiberid - 1, slice(spectrum.k0 - k0, spectrum.k0 - k0 + len(spectrum.flux))
                for i, name in ((0, "flux"), (1, "ivar"), (2, "and_mask"), (3, "or_mask"), (4, "wdisp"), (6, "sky")):
                    assert np.array_equal(plate[i].data[row, cut], getattr(spectrum, name))
                assert not plate[1].data[row, : cut.start].any()
                assert not plate[1].data[row, cut.stop :].any()
                assert best[1].data["FIBERID"][row] == plate[5].data["FIBERID"][row] == fibre.fiberid
                assert best[1].data["CLASS"][row] == fibre.object_class
                assert best[1].data["Z"][row] == np.float32(fibre.z)
            assert plate[5].data["OBJTYPE"][[4, 639, 10]].tolist() == ["NONLEGACY", "SKY", "NA"]
            assert plate[5].data["SPECTROGRAPHID"][[0, 319, 320, 639]].tolist() == [1, 1, 2, 2]
            assert plate[2].data[10].min() == 1
            assert not plate[1].data[10].any()
            assert best[1].data["ZWARNING"][10] == 1 << 7
