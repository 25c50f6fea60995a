"""Files of the other formats made for tests, and the rules that each source keeps, whatever the bytes are."""

from __future__ import annotations

import io
import time
import warnings

import numpy as np
from astropy.io import fits

from raystellar.errors import SpectrumError
from raystellar.spectra import Spectrum, count_spectra, read_spectra

N = 240
"""Number of pixels of the spectra."""


def rendered(*hdus):
    """Return the bytes of a FITS file."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(list(hdus)).writeto(out)
    return out.getvalue()


def with_header(hdu, cards):
    """Return an HDU with more cards in its header; values of None are left out."""
    for key, value in cards.items():
        if value is not None:
            hdu.header[key] = value
    return hdu


def pixels(rows, seed=0):
    """Return flux, ivar and mask, (rows, N)."""
    rng = np.random.default_rng(seed)
    flux = rng.normal(10, 1, (rows, N)).astype(np.float32)
    ivar = rng.uniform(0.5, 4, (rows, N)).astype(np.float32)
    return flux, ivar, rng.integers(0, 2**24, (rows, N)).astype(np.int32)


SPSPEC = {"TELESCOP": "SDSS 2.5-M", "RA": 150.0, "DEC": 10.0, "PLATEID": 1307, "MJD": 52999, "FIBERID": 323,
          "RAOBJ": 149.46, "DECOBJ": 10.97, "OBJTYPE": "GALAXY", "COEFF0": 3.5796, "COEFF1": 1e-4, "SPEC_CLN": 1,
          "Z": 0.0413, "Z_ERR": 7.5e-5, "Z_STATUS": 3, "Z_WARNIN": 0, "VERS2D": "v5_3_12"}  # fmt: skip


def spspec_file(cards=None, rows=5, sigma=None, mask=None):
    """Return the bytes of a spSpec file; None drops a card."""
    flux, ivar, bits = pixels(1)
    sigma = 1 / np.sqrt(ivar[0]) if sigma is None else sigma
    image = np.stack([flux[0], flux[0] - 10, sigma, bits[0] if mask is None else mask, flux[0]][:rows])
    return rendered(with_header(fits.PrimaryHDU(image.astype(np.float32)), SPSPEC | (cards or {})))


LAMOST = {
    "ORIGIN": "NAOC-LAMOST",
    "TELESCOP": "LAMOST",
    "LMJD": 55862,
    "MJD": 55863,
    "PLANID": "B6212",
    "SPID": 6,
    "FIBERID": 3,
    "RA": 99.3,
    "DEC": 27.2,
    "OBJTYPE": "star",
    "FIBERTYP": "Obj",
    "COEFF0": 3.5682,
    "COEFF1": 1e-4,
    "VERSPIPE": "v2.6.4",
    "CLASS": "STAR",
    "SUBCLASS": "F9",
    "Z": -7.1e-5,
    "Z_ERR": 4.6e-5,
}


def lamost_image(cards=None, rows=5):
    """Return the bytes of a LAMOST file as until DR7."""
    flux, ivar, _ = pixels(1)
    image = np.stack([flux[0], ivar[0], np.ones(N), np.arange(N) % 2, np.ones(N)][:rows])
    return rendered(with_header(fits.PrimaryHDU(image.astype(np.float32)), LAMOST | (cards or {})))


def lamost_table(cards=None, columns=None, name="COADD", form="{}E"):
    """Return the bytes of a LAMOST file as since DR8; None drops a column."""
    flux, ivar, _ = pixels(1)
    vectors = {
        "FLUX": flux[0],
        "IVAR": ivar[0],
        "WAVELENGTH": 10 ** ((35682 + np.arange(N)) * 1e-4),
        "ANDMASK": np.arange(N) % 2,
        "ORMASK": np.ones(N),
        "NORMALIZATION": flux[0],
    } | (columns or {})
    made = [
        fits.Column(key, form.format(len(values)), array=np.asarray(values)[None])
        for key, values in vectors.items()
        if values is not None
    ]
    table = fits.BinTableHDU.from_columns(made)
    table.name = name
    primary = LAMOST | {"OBSID": 101001, "COEFF0": None, "COEFF1": None} | (cards or {})
    return rendered(with_header(fits.PrimaryHDU(), primary), table)


PLATE = {
    "TELESCOP": "SDSS 2.5-M",
    "PLATEID": 266,
    "MJD": 51602,
    "RA": 146.0,
    "DEC": 0.1,
    "COEFF0": 3.5785,
    "COEFF1": 1e-4,
}
FIBRES = 20


def plate_file(cards=None, names=True, plugmap=None, images=None, hdus=7):
    """Return the bytes of a plate of 20 fibres: the third is not plugged, the fifth observes the sky."""
    flux, ivar, mask = pixels(FIBRES)
    ivar[:, :5] = ivar[:, -7:] = ivar[:, 50] = 0
    ivar[2], mask[2] = 0, 1
    made = {"flux": flux, "ivar": ivar, "mask": mask} | (images or {})
    columns = {"OBJTYPE": ("16A", ["GALAXY"] * FIBRES), "RA": ("D", np.arange(FIBRES) + 0.5),
               "DEC": ("D", np.arange(FIBRES) - 9.5), "MAG": ("5E", np.ones((FIBRES, 5))),
               "FIBERID": ("J", np.arange(1, FIBRES + 1))} | (plugmap or {})  # fmt: skip
    columns["OBJTYPE"][1][2], columns["OBJTYPE"][1][4] = "NA", "SKY"
    table = fits.BinTableHDU.from_columns(
        [fits.Column(key, *spec[:1], array=spec[1], **(spec[2] if spec[2:] else {})) for key, spec in columns.items()]
    )
    all_hdus = [
        with_header(fits.PrimaryHDU(made["flux"]), PLATE | (cards or {})),
        fits.ImageHDU(made["ivar"]),
        fits.ImageHDU(made["mask"]),
        fits.ImageHDU(made["mask"]),
        fits.ImageHDU(made["flux"]),
        table,
        fits.ImageHDU(made["flux"]),
    ]
    for hdu, name in zip(all_hdus[1:], ("IVAR", "ANDMASK", "ORMASK", "WAVEDISP", "PLUGMAP", "SKY"), strict=True):
        if names:
            hdu.name = name
    return rendered(*all_hdus[:hdus])


def zbest_file(columns=None, rows=FIBRES):
    """Return the bytes of the spZbest file of that plate; None drops a column."""
    made = {
        "PLATE": ("J", np.full(rows, 266)),
        "MJD": ("J", np.full(rows, 51602)),
        "FIBERID": ("J", np.arange(1, rows + 1)),
        "CLASS": ("6A", ["STAR"] * rows),
        "SUBCLASS": ("21A", ["F9"] * rows),
        "Z": ("E", np.linspace(0, 1e-3, rows)),
        "Z_ERR": ("E", np.full(rows, 1e-5)),
        "ZWARNING": ("J", np.arange(rows) * 2),
        "SN_MEDIAN_ALL": ("E", np.arange(rows) + 0.5),
        "THETA": ("3E", np.ones((rows, 3))),
        "PLUG_RA": ("D", np.arange(rows) + 0.25),
        "PLUG_DEC": ("D", np.arange(rows) - 9.25),
    } | (columns or {})
    table = fits.BinTableHDU.from_columns(
        [fits.Column(key, spec[0], array=spec[1]) for key, spec in made.items() if spec is not None]
    )
    return rendered(fits.PrimaryHDU(), table)


def reasons(data, path="file"):
    """Return the reasons of the errors among the items of a file."""
    return [item.reason for item in read_spectra(path, data) if isinstance(item, SpectrumError)]


def the_one(data, path="file"):
    """Return the only item of a file, which must be a spectrum."""
    (item,) = read_spectra(path, data)
    assert isinstance(item, Spectrum), item
    return item


def assert_sound(data, path="file", seconds=1.0, label=""):
    """Check that a file gives as many items as are counted, each a sound spectrum or a reason, without delay."""
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counted = count_spectra(path, data)
        items = list(read_spectra(path, data))
    assert time.process_time() - started < seconds, label
    assert len(items) == counted, label
    for item in items:
        if isinstance(item, SpectrumError):
            assert item.stage in ("fetch", "read"), label
            assert item.reason, label
        else:
            assert_record(item, label)
    return items


def assert_record(spectrum, label=""):
    """Check that a record has the types and shapes that its docstring states."""
    arrays = (spectrum.loglam, spectrum.flux, spectrum.ivar)
    assert [array.dtype for array in arrays] == [np.float32] * 3, label
    assert all(array.dtype.isnative and array.flags.c_contiguous and array.flags.writeable for array in arrays), label
    assert len({len(array) for array in arrays}) == 1, label
    assert (np.diff(spectrum.loglam) > 0).all(), label
    for name, kind in (
        ("plate", int),
        ("mjd", int),
        ("fiberid", int),
        ("zwarning", int),
        ("is_sky", bool),
        ("z", float),
        ("z_err", float),
        ("ra", float),
        ("dec", float),
        ("sn", float),
        ("spec_id", str),
        ("run2d", str),
        ("object_class", str),
        ("subclass", str),
        ("note", str),
    ):
        assert type(getattr(spectrum, name)) is kind, f"{label}: {name}"
    assert spectrum.spec_id, label
