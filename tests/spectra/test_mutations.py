"""Mutated files of all FITS formats: each value that is read is the value that astropy reads, or the file is refused.

The suite reads a few hundred mutated files. ``RAYSTELLAR_MUTATIONS=5000 pytest -s tests/spectra/test_mutations.py``
reads as many over all formats, of real files too, and prints how many were refused and how many equal.
"""

from __future__ import annotations

import io
import os
import random
import time
import tracemalloc
import warnings
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from astropy.io import fits
from mutations import mutated, parts_of, rendered
from source_files import lamost_image, lamost_table, plate_file, spspec_file, zbest_file
from spec_files import spec_file

from raystellar.errors import SpectrumError
from raystellar.spectra import Spectrum, read_spectra
from raystellar.spectra.spspec import CLASSES, NO_DATA

MUTATIONS = int(os.environ.get("RAYSTELLAR_MUTATIONS", "320"))
MOST_SECONDS, MOST_BYTES = 1.0, 64e6

BOSS_ROW = {"SOURCETYPE": None, "OBJTYPE": ("16A", "SPECTROPHOTO_STD"), "RUN2D": ("7A", "v5_13_2")}
FROM_PRIMARY = dict.fromkeys(("PLATE", "MJD", "FIBERID", "RUN2D", "PLUG_RA", "PLUG_DEC", "SN_MEDIAN_ALL"))
PRIMARY = {"RUN2D": "v5_7_0", "PLUG_RA": 147.5, "PLUG_DEC": -2.5}
PLATE_NAME, ZBEST_NAME = "spPlate-0266-51602.fits", "spZbest-0266-51602.fits"
PLATE, ZBEST = plate_file(), zbest_file()
OTHER = {"spPlate": ZBEST, "spZbest": PLATE}
"""The file beside the mutated one."""


class Format(NamedTuple):
    """A format, with what to mutate of it."""

    made: tuple[bytes, ...]
    """Files made by the tests."""

    real: str
    """Pattern of real files; empty where there are none."""

    parts: int
    """Number of the first HDUs that are mutated."""

    keys: tuple[str, ...]
    """Keywords that the reader needs."""


SPEC_KEYS = ("PLATEID", "MJD", "FIBERID", "RUN2D", "PLUG_RA", "PLUG_DEC", *(f"TFORM{i}" for i in range(1, 16)),
             *(f"TTYPE{i}" for i in range(1, 16)))  # fmt: skip
LAMOST_KEYS = ("COEFF0", "COEFF1", "OBSID", "PLANID", "SPID", "FIBERID", "MJD", "LMJD", "RA", "DEC", "CLASS",
               "SUBCLASS", "Z", "Z_ERR", "FIBERTYP", "OBJTYPE", "VERSPIPE", "TELESCOP")  # fmt: skip
SPSPEC_KEYS = ("COEFF0", "COEFF1", "PLATEID", "MJD", "FIBERID", "RAOBJ", "DECOBJ", "SPEC_CLN", "OBJTYPE", "Z", "Z_ERR",
               "Z_STATUS", "Z_WARNIN", "VERS2D", "TELESCOP")  # fmt: skip
PLATE_KEYS = ("COEFF0", "COEFF1", "PLATEID", "MJD", "RUN2D", *(f"TFORM{i}" for i in range(1, 16)))

SPARSE = spec_file(row=FROM_PRIMARY, primary=PRIMARY)

FORMATS = {
    "spec lite": Format((spec_file(), SPARSE), "sdss_stars/spec-*.fits", 3, SPEC_KEYS),
    "spec full": Format((spec_file(exposures=4),), "sdss_other/spec-1*.fits", 3, SPEC_KEYS),
    "BOSS": Format((spec_file(row=BOSS_ROW),), "sdss_other/spec-4*.fits", 3, SPEC_KEYS),
    "upper case": Format((spec_file(case=str.upper, names=False),), "sdss_other/spec-3*.fits", 3, SPEC_KEYS),
    "spPlate": Format((PLATE, plate_file({"RUN2D": "26"}, names=False)), "", 7, PLATE_KEYS),
    "spZbest": Format((ZBEST,), "", 2, PLATE_KEYS),
    "spSpec": Format((spspec_file(), spspec_file(rows=4)), "sdss_other/spSpec-*.fit", 1, SPSPEC_KEYS),
    "LAMOST image": Format((lamost_image(), lamost_image({"OBSID": 7})), "lamost/*.fits", 1, LAMOST_KEYS),
    "LAMOST table": Format((lamost_table(), lamost_table(form="{}D")), "", 2, LAMOST_KEYS),
}


# Plain reading with astropy: an item of a file is a dict of the values that the record should have


def plain_items(kind: str, data: bytes, other: bytes, has_zbest: bool) -> list[dict]:
    """Return the values of all items of a file, as astropy reads them.

    Parameters
    ----------
    kind : name of the format
    data : contents of the file
    other : file beside it: for spPlate the spZbest, and for spZbest the plate
    has_zbest : whether the spZbest is used
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if kind == "spPlate":
            return plain_plate(data, other if has_zbest else None)
        if kind == "spZbest":
            return plain_plate(other, data if has_zbest else None)
        with fits.open(io.BytesIO(data), memmap=False, character_as_bytes=True) as hdus:
            reader = plain_spspec if kind == "spSpec" else plain_lamost if "LAMOST" in kind else plain_spec
            return [reader(hdus)]


def card(header, key, default=None):
    value = header.get(key)
    return default if value is None else value


def text(value):
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.strip("\0 ") if isinstance(value, str) else value


def column(hdu, name):
    """Return a column by its name in any case; None where the table has none."""
    (*names,) = [other for other in hdu.columns.names if other.lower() == name]
    return np.asarray(hdu.data[names[0]]) if names else None


def lattice(header, pixels):
    first, step = float(card(header, "COEFF0")), float(card(header, "COEFF1"))
    k = round(first * 1e4)
    assert abs(first * 1e4 - k) < 0.0101
    assert abs(step - 1e-4) < 1.01e-9
    return ((k + np.arange(pixels)) * 1e-4).astype(np.float32)


def median_sn(loglam, flux, ivar):
    good = (ivar > 2.0**-63) & (ivar < 2.0**64) & (abs(flux) < 2.0**64) & ((abs(flux) > 2.0**-63) | (flux == 0))
    good &= (loglam >= np.log10(3280)) & (loglam < np.log10(9860))
    ordered = np.sort(flux[good] * np.sqrt(ivar[good]))
    return float(ordered[len(ordered) // 2]) if len(ordered) else np.nan


def plain_spec(hdus):
    primary, coadd, table = hdus[0].header, hdus[1], hdus[2]
    arrays = {name: column(coadd, name).astype(np.float32).reshape(-1) for name in ("loglam", "flux", "ivar")}

    def value(name, keyword=None):
        values = column(table, name)
        found = None if values is None else text(values.reshape(-1)[0].item())
        return card(primary, keyword) if keyword and found in (None, "") else found

    plate, mjd, fibre = value("plate", "PLATEID"), value("mjd", "MJD"), value("fiberid", "FIBERID")
    zwarning = int(value("zwarning") or 0)
    sn = value("sn_median_all")
    return {
        "spec_id": f"{int(plate)}-{int(mjd)}-{int(fibre)}", "plate": plate, "mjd": mjd, "fiberid": fibre,
        "run2d": str(value("run2d", "RUN2D") or ""), "ra": value("plug_ra", "PLUG_RA"),
        "dec": value("plug_dec", "PLUG_DEC"), "object_class": value("class") or "", "subclass": value("subclass") or "",
        "is_sky": bool(zwarning & 1) or "SKY" in (value("sourcetype"), value("objtype")), "z": value("z"),
        "z_err": value("z_err"), "zwarning": zwarning, "sn": median_sn(**arrays) if sn is None else sn, **arrays,
    }  # fmt: skip


def plain_spspec(hdus):
    header, rows = hdus[0].header, hdus[0].data.astype(np.float32)
    sigma, mask = rows[2].astype(np.float64), np.nan_to_num(rows[3].astype(np.float64), posinf=0, neginf=0)
    bits = np.where(abs(mask) < 2.0**32, mask, 0).astype(np.int64)
    ivar = np.where((sigma > 0) & np.isfinite(sigma) & (bits & NO_DATA == 0), 1 / sigma**2, 0).astype(np.float32)
    loglam = lattice(header, rows.shape[1])
    plate, mjd, fibre = (int(card(header, key)) for key in ("PLATEID", "MJD", "FIBERID"))
    kind = card(header, "SPEC_CLN", 0)
    sky = kind == 5 or card(header, "OBJTYPE") == "SKY"
    doubt = card(header, "Z_STATUS", 2) < 2 or card(header, "Z_WARNIN", 0) != 0
    return {
        "spec_id": f"{plate}-{mjd}-{fibre}", "plate": plate, "mjd": mjd, "fiberid": fibre,
        "run2d": card(header, "VERS2D", ""), "ra": card(header, "RAOBJ"), "dec": card(header, "DECOBJ"),
        "object_class": CLASSES.get(kind, ""), "subclass": "late" if kind == 6 else "", "is_sky": sky,
        "z": card(header, "Z"), "z_err": card(header, "Z_ERR"), "zwarning": 1 * sky | 4 * doubt,
        "sn": median_sn(loglam, rows[0], ivar), "loglam": loglam, "flux": rows[0], "ivar": ivar,
    }  # fmt: skip


def plain_lamost(hdus):
    header = hdus[0].header
    if header["NAXIS"] == 0:
        flux, ivar, wave = (column(hdus[1], name).reshape(-1) for name in ("flux", "ivar", "wavelength"))
        flux, ivar, loglam = flux.astype(np.float32), ivar.astype(np.float32), np.log10(wave.astype(np.float64))
        k = np.rint(loglam * 1e4)
        if (abs(loglam * 1e4 - k) < 0.0501).all() and (np.diff(k) == 1).all():
            loglam = k * 1e-4  # within the rounding of the wavelengths
        loglam = loglam.astype(np.float32)
    else:
        flux, ivar = hdus[0].data[:2].astype(np.float32)
        loglam = lattice(header, len(flux))
    parts = [card(header, key, "") for key in ("LMJD", "PLANID", "SPID", "FIBERID")]
    obs_id = card(header, "OBSID", "")
    fibre, kind = card(header, "FIBERTYP", "").upper(), card(header, "CLASS", "").upper()
    sky = fibre == "SKY" or card(header, "OBJTYPE", "").upper() == "SKY"
    return {
        "spec_id": f"lamost-{obs_id}" if obs_id != "" else "-".join(map(str, ["lamost", *parts])), "plate": 0,
        "mjd": card(header, "MJD"), "fiberid": card(header, "FIBERID"), "run2d": card(header, "VERSPIPE", ""),
        "ra": card(header, "RA"), "dec": card(header, "DEC"), "object_class": "" if kind == "UNKNOWN" else kind,
        "subclass": card(header, "SUBCLASS", ""), "is_sky": sky, "z": redshift(card(header, "Z")),
        "z_err": redshift(card(header, "Z_ERR")), "zwarning": 1 * sky, "sn": median_sn(loglam, flux, ivar),
        "loglam": loglam, "flux": flux, "ivar": ivar,
    }  # fmt: skip


def redshift(value):
    return None if value is None or value <= -9000 else value


def plain_plate(plate, zbest):
    with fits.open(io.BytesIO(plate), memmap=False, character_as_bytes=True) as hdus:
        header, flux, ivar = hdus[0].header, hdus[0].data.astype(np.float32), hdus[1].data.astype(np.float32)
        values = {name: column(hdus[5], name) for name in ("objtype", "ra", "dec")}
        loglam = lattice(header, flux.shape[1])
        plate_id, mjd, run2d = int(card(header, "PLATEID")), int(card(header, "MJD")), card(header, "RUN2D", "")
    if zbest is not None:
        names = ("class", "subclass", "z", "z_err", "zwarning", "sn_median_all", "sn_median", "plug_ra", "plug_dec")
        with fits.open(io.BytesIO(zbest), memmap=False, character_as_bytes=True) as hdus:
            days = column(hdus[1], "mjd")
            mjd = mjd if days is None else int(days.max())
            values |= {name: column(hdus[1], name) for name in names}
    items = []
    for fibre in range(len(flux)):

        def value(*names, fibre=fibre):
            for name in names:
                if values.get(name) is not None and values[name].ndim == 1:
                    return text(values[name][fibre].item())
            return None

        good = np.flatnonzero(ivar[fibre] > 0)
        cut = slice(good[0], good[-1] + 1) if len(good) else slice(0, 0)
        arrays = {"loglam": loglam[cut], "flux": flux[fibre, cut], "ivar": ivar[fibre, cut]}
        zwarning, sn = int(value("zwarning") or 0), value("sn_median_all", "sn_median")
        items.append({
            "spec_id": f"{plate_id}-{mjd}-{fibre + 1}", "plate": plate_id, "mjd": mjd, "fiberid": fibre + 1,
            "run2d": run2d, "ra": value("plug_ra", "ra"), "dec": value("plug_dec", "dec"),
            "object_class": value("class") or "", "subclass": value("subclass") or "",
            "is_sky": bool(zwarning & 1) or value("objtype") == "SKY", "z": value("z"), "z_err": value("z_err"),
            "zwarning": zwarning, "sn": median_sn(**arrays) if sn is None else sn, **arrays,
        })  # fmt: skip
    return items


# Comparison


def read_items(kind, data, folder):
    """Return the items of a file, after checking the time and the memory that they take."""
    path, file_data = "file.fits", data
    if kind in ("spPlate", "spZbest"):
        (folder / (PLATE_NAME if kind == "spPlate" else ZBEST_NAME)).write_bytes(data)
        path, file_data = str(folder / PLATE_NAME), None
    tracemalloc.start()
    started = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            items = list(read_spectra(path, file_data))
        seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds < MOST_SECONDS
    assert peak < MOST_BYTES
    return items


def differences(item: Spectrum, expected: dict) -> list[str]:
    """Return the names of the values in which a spectrum differs; an unknown number is NaN in the record."""
    differing = []
    for name, value in expected.items():
        read = getattr(item, name)
        value = np.nan if value is None else value
        if isinstance(read, np.ndarray):
            same = np.array_equal(read, value, equal_nan=True)
        elif isinstance(read, float):
            same = not isinstance(value, (str, bool)) and (read == float(value) or (read != read and value != value))
        else:
            same = read == value and isinstance(value, str) == isinstance(read, str)
        if not same:
            differing.append(f"{name}: {read!r}, expected {value!r}")
    return differing


def with_extend(data):
    """Mend the card EXTEND, which no value depends on, but without which astropy opens no file."""
    at = next((at for at in range(0, 80 * 36, 80) if data.startswith(b"EXTEND  =", at)), None)
    return data if at is None else data[:at] + b"EXTEND  =                    T".ljust(80) + data[at + 80 :]


def outcome(kind, data, original, other, folder) -> tuple[str, list[str]]:
    """Return how a mutated file was read, and the differences from the plain reading."""
    items = read_items(kind, data, folder)
    spectra = [(i, item) for i, item in enumerate(items) if isinstance(item, Spectrum)]
    for error in items:
        assert not isinstance(error, SpectrumError) or (error.stage in ("read", "fetch") and error.reason)
    if not spectra:
        return "refused", []
    has_zbest = not spectra[0][1].note
    how = "equal" if has_zbest or kind != "spZbest" else "refused"  # and the plate is read without it
    try:
        expected = plain_items(kind, with_extend(data), other, has_zbest)
    except Exception:  # whatever astropy raises: the values must then be those of the whole file
        how, expected = "equal to the original", plain_items(kind, original, other, has_zbest)
    if len(items) != len(expected):
        return "different", [f"{len(items)} items, expected {len(expected)}"]
    wrong = [difference for i, item in spectra for difference in differences(item, expected[i])]
    return ("different" if wrong else how), wrong


@pytest.fixture
def folder(tmp_path):
    (tmp_path / PLATE_NAME).write_bytes(PLATE)
    (tmp_path / ZBEST_NAME).write_bytes(ZBEST)
    return tmp_path


def bases(kind, real_folder):
    """Return the valid files of a format."""
    real = sorted(real_folder.glob(FORMATS[kind].real))[:4] if real_folder and FORMATS[kind].real else []
    return [*FORMATS[kind].made, *(path.read_bytes() for path in real)]


def check(kind, files, count, seed, folder) -> Counter:
    """Read ``count`` mutated files of a format; return how many were read in which way."""
    rng = random.Random(f"{seed} {kind}")
    parts = [parts_of(data, FORMATS[kind].parts) for data in files]
    counts: Counter[str] = Counter()
    failures = []
    for i in range(count):
        chosen = rng.randrange(len(files))
        name, data = mutated(parts[chosen], FORMATS[kind].keys, rng)
        how, wrong = outcome(kind, data, files[chosen], OTHER.get(kind, b""), folder)
        counts[how] += 1
        if wrong:
            failures.append(f"{i}: {name}: {wrong[:4]}")
    assert not failures, f"{len(failures)} of {count} {kind} files: " + "\n".join(failures[:20])
    return counts


@pytest.mark.parametrize("kind", FORMATS)
def test_files_as_they_are(kind, folder):
    for data in FORMATS[kind].made:
        assert outcome(kind, data, data, OTHER.get(kind, b""), folder) == ("equal", [])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "card", ["HIERARCH NAXIS = 9999999999", "NAXIS   = 9999999999", " NAXIS  = + 99999", "naxis = 1000"]
)
def test_a_number_of_axes_does_not_keep_the_reader_busy(kind, card, folder):
    parts = parts_of(FORMATS[kind].made[0], FORMATS[kind].parts)
    for i, part in enumerate(parts):
        cards = [part.cards[0], card.encode().ljust(80), *part.cards[1:]]
        data = rendered([*parts[:i], part._replace(cards=cards), *parts[i + 1 :]])
        assert outcome(kind, data, FORMATS[kind].made[0], OTHER.get(kind, b""), folder)[0] != "different"


@pytest.mark.timeout(7200 if "RAYSTELLAR_MUTATIONS" in os.environ else 30)
@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_files_give_what_astropy_reads_or_a_reason(kind, folder, request):
    many = "RAYSTELLAR_MUTATIONS" in os.environ
    files = bases(kind, request.getfixturevalue("real_data") if many else None)
    counts = check(kind, files, -(-MUTATIONS // len(FORMATS)), 20261125, folder)
    assert counts["refused"]
    assert counts["equal"]
    if many:
        print(f"{kind}: {counts.total()} mutated, {dict(counts)}")
