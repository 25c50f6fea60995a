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


DESI_ARMS = {"B": (0, 120), "R": (100, 130), "Z": (215, 125)}
"""First pixel and number of pixels of each arm on a grid of 0.8 angstrom; the overlaps have 20 and 15 pixels."""

DESI_PIXELS = 340
TARGETS = 40
UNASSIGNED, SKY_TARGET, NO_DATA = 2, 4, 6
"""Rows of a positioner without a target, a sky fibre, and a target without good pixels."""


def target_ids(rows=TARGETS):
    """Return the TARGETID of each row; one is negative, and the others have 56 bits."""
    ids = 39627866878511337 + np.arange(rows)
    ids[UNASSIGNED] = -2713437
    return ids


def desi_file(fibermap=None, compressed=False, drop=(), changed=None, primary=None, arms=DESI_ARMS, rows=TARGETS):
    """Return the bytes of a DESI coadd file of 40 targets.

    Parameters
    ----------
    fibermap : columns to replace; None drops a column
    compressed : whether the masks are compressed images
    drop : names of HDUs to leave out
    changed : HDUs by name, in place of those of the same name
    """
    rng = np.random.default_rng(7)
    objtype = np.full(rows, "TGT")
    objtype[UNASSIGNED], objtype[SKY_TARGET] = "", "SKY"
    columns = {
        "TARGETID": ("K", target_ids(rows)), "COADD_FIBERSTATUS": ("J", np.zeros(rows)),
        "TARGET_RA": ("D", np.arange(rows) + 0.125), "TARGET_DEC": ("D", np.arange(rows) - 30.5),
        "FA_TYPE": ("B", np.ones(rows)), "OBJTYPE": ("3A", objtype), "REF_CAT": ("2A", ["G2"] * rows),
    } | (fibermap or {})  # fmt: skip
    table = fits.BinTableHDU.from_columns(
        [fits.Column(key, spec[0], array=spec[1]) for key, spec in columns.items() if spec is not None],
        name="FIBERMAP",
    )
    exposures = fits.BinTableHDU.from_columns(
        [fits.Column("TARGETID", "K", array=target_ids(rows))], name="EXP_FIBERMAP"
    )
    hdus = [table, exposures]
    for name, (first, pixels) in arms.items():
        flux, ivar = rng.normal(5, 2, (rows, pixels)), rng.uniform(0.2, 2, (rows, pixels))
        mask = (rng.uniform(size=(rows, pixels)) < 0.05) * rng.integers(1, 2**31, (rows, pixels))
        ivar[:, ::37], ivar[NO_DATA] = 0, 0
        flux[:, 5] = np.where(ivar[:, 5] > 0, flux[:, 5], np.nan)
        mask_hdu = fits.CompImageHDU if compressed else fits.ImageHDU
        hdus += [
            fits.ImageHDU(3600 + 0.8 * (first + np.arange(pixels)), name=f"{name}_WAVELENGTH"),
            fits.ImageHDU(flux.astype(np.float32), name=f"{name}_FLUX"),
            fits.ImageHDU(ivar.astype(np.float32), name=f"{name}_IVAR"),
            mask_hdu(mask.astype(np.uint32), name=f"{name}_MASK"),
            fits.ImageHDU(np.zeros((rows, 3, pixels), np.float32), name=f"{name}_RESOLUTION"),
        ]
    hdus = [(changed or {}).get(hdu.name, hdu) for hdu in hdus if hdu.name not in drop]
    cards = {"SPGRP": "healpix", "DEPNAM03": "SPECPROD", "DEPVER03": "iron", "INFIL000": "spectra-main-dark-1.fits"}
    return rendered(with_header(fits.PrimaryHDU(), cards | (primary or {})), *hdus)


def redrock_file(columns=None, rows=TARGETS):
    """Return the bytes of the redrock file of that coadd file, in another order and without sky fibres."""
    chosen = [row for row in range(rows) if row not in (UNASSIGNED, SKY_TARGET)][::-1]
    made = {
        "TARGETID": ("K", target_ids(rows)), "CHI2": ("D", np.ones(rows)), "COEFF": ("10D", np.ones((rows, 10))),
        "Z": ("D", np.linspace(-1e-3, 1e-3, rows)), "ZERR": ("D", np.full(rows, 1e-5)),
        "ZWARN": ("K", np.arange(rows) % 3 * 4), "SPECTYPE": ("6A", np.where(np.arange(rows) % 5, "STAR", "GALAXY")),
        "SUBTYPE": ("20A", np.array(["G", "K", ""] * rows)[:rows]),
    } | (columns or {})  # fmt: skip
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column(key, spec[0], array=np.asarray(spec[1])[chosen])
            for key, spec in made.items()
            if spec is not None
        ],
        name="REDSHIFTS",
    )
    return rendered(fits.PrimaryHDU(), table)


MWM = {"V_ASTRA": "0.6.0", "SDSS_ID": 54459273, "CAT_ID": 27021597906174631, "RA": 260.88, "DEC": 70.85, "V_RAD": -99.0}


def mwm_table(name, columns=None, rows=3, cards=None):
    """Return a table of BOSS or APOGEE, as in mwmVisit; None drops a column."""
    rng = np.random.default_rng(len(name))
    pixels = 300
    form, shape = f"{pixels}E", {"dim": f"({pixels})"}
    made = {
        "spectrum_pk": ("K", np.arange(rows)), "release": ("5A", ["sdss5"] * rows), "run2d": ("6A", ["v6_1_3"] * rows),
        "mjd": ("J", 59000 + np.arange(rows)), "fieldid": ("J", np.full(rows, 101234)),
        "catalogid": ("K", np.full(rows, 27021597906174631)), "delta_ra": ("2E", np.zeros((rows, 2)), {"dim": "(2)"}),
        "snr": ("E", np.full(rows, 30.0)), "in_stack": ("L", np.arange(rows) != 1),
        "zwarning_flags": ("K", np.arange(rows) * 2 - 2), "xcsao_v_rad": ("E", 120.5 - 100.0 * np.arange(rows)),
        "xcsao_e_v_rad": ("E", 1.5 + np.arange(rows)), "flux": (form, rng.normal(8, 1, (rows, pixels)), shape),
        "ivar": (form, rng.uniform(0, 3, (rows, pixels)), shape),
        "pixel_flags": (f"{pixels}K", np.zeros((rows, pixels)), shape),
    } | (columns or {})  # fmt: skip
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column(key, spec[0], array=np.asarray(spec[1]), **(spec[2] if spec[2:] else {}))
            for key, spec in made.items()
            if spec is not None
        ]
    )
    dispersion = {"CRVAL": 3.5523, "CDELT": 1e-4, "CUNIT": "Angstrom (Vacuum)", "NPIXELS": pixels}
    return with_header(table, {"EXTNAME": name} | dispersion | (cards or {}))


def mwm_star_columns(rows=1, pixels=300):
    """Return the columns by which a table of mwmStar differs from one of mwmVisit."""
    wavelength = np.tile((10 ** (3.5523 + 1e-4 * np.arange(pixels))).astype(np.float32), (rows, 1))
    dropped = dict.fromkeys(("mjd", "fieldid", "catalogid", "in_stack", "xcsao_v_rad", "xcsao_e_v_rad", "delta_ra"))
    return dropped | {
        "telescope": ("6A", ["apo25m"] * rows), "min_mjd": ("J", [59000] * rows), "max_mjd": ("J", [59400] * rows),
        "v_rad": ("E", [-30.25] * rows), "e_v_rad": ("E", [0.75] * rows), "zwarning_flags": ("K", [0] * rows),
        "wavelength": (f"{pixels}E", wavelength, {"dim": f"({pixels})"}),
    }  # fmt: skip


def mwm_file(*tables, primary=None):
    """Return the bytes of a mwmVisit or mwmStar file; observatories without a table get an empty one."""
    named = {table.header["EXTNAME"]: table for table in tables}
    names = ("BOSS/APO", "BOSS/LCO", "APOGEE/APO", "APOGEE/LCO")
    empty = {
        name: fits.BinTableHDU.from_columns([fits.Column("spectrum_pk", "K", array=[])], name=name) for name in names
    }
    cards = MWM if primary is None else primary
    return rendered(with_header(fits.PrimaryHDU(), cards), *(empty | named).values())


def mwm_visit_file():
    """Return the bytes of a mwmVisit file: three visits at APO, one at LCO, two of APOGEE."""
    return mwm_file(mwm_table("BOSS/APO"), mwm_table("BOSS/LCO", rows=1), mwm_table("APOGEE/APO", rows=2))


def mwm_star_file():
    """Return the bytes of a mwmStar file with a spectrum of APO."""
    return mwm_file(mwm_table("BOSS/APO", mwm_star_columns(), rows=1))
