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
from plain_reading import REDSHIFTS, plain_items
from source_files import (
    desi_file,
    lamost_image,
    lamost_table,
    mwm_star_file,
    mwm_visit_file,
    plate_file,
    redrock_file,
    spspec_file,
    zbest_file,
)
from spec_files import DR18, DR19, sdss_v, spec_file

from raystellar.errors import SpectrumError
from raystellar.spectra import Spectrum, read_spectra

MUTATIONS = int(os.environ.get("RAYSTELLAR_MUTATIONS", "320"))
MOST_SECONDS, MOST_BYTES = 10.0, 64e6  # of CPU time: a loop over axes or rows that are not there takes minutes

BOSS_ROW = {"SOURCETYPE": None, "OBJTYPE": ("16A", "SPECTROPHOTO_STD"), "RUN2D": ("7A", "v5_13_2")}
FROM_PRIMARY = dict.fromkeys(("PLATE", "MJD", "FIBERID", "RUN2D", "PLUG_RA", "PLUG_DEC", "SN_MEDIAN_ALL"))
PRIMARY = {"RUN2D": "v5_7_0", "PLUG_RA": 147.5, "PLUG_DEC": -2.5}
PLATE, ZBEST, COADD, REDROCK = plate_file(), zbest_file(), desi_file(), redrock_file()
BESIDE = {
    "spPlate": ("spPlate-0266-51602.fits", PLATE),
    "spZbest": ("spZbest-0266-51602.fits", ZBEST),
    "DESI coadd": ("coadd-main-dark-10016.fits", COADD),
    "redrock": ("redrock-main-dark-10016.fits", REDROCK),
}
"""Name and contents of files of spectra and of redshifts that lie beside each other."""

NAMES = {"mwmVisit": "mwmVisit-0.6.0-54459273.fits", "mwmStar": "mwmStar-0.6.0-54459273.fits"}
"""Names of mutated files whose format the name shows."""

OTHER = {"spPlate": ZBEST, "spZbest": PLATE, "DESI coadd": REDROCK, "redrock": COADD}
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

SDSS_V_KEYS = (*SPEC_KEYS, "FIELDID", "FIELD", "CATALOGID")
MWM_KEYS = ("SDSS_ID", "CAT_ID", "RA", "DEC", "EXTNAME", "CRVAL", "CDELT", "NPIXELS",
            *(f"{key}{i}" for i in range(1, 16) for key in ("TFORM", "TTYPE")))  # fmt: skip
DESI_KEYS = ("EXTNAME", "DEPNAM03", "DEPVER03", "INFIL000", *(f"TFORM{i}" for i in range(1, 9)),
             *(f"TTYPE{i}" for i in range(1, 9)))  # fmt: skip

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
    "SDSS-V": Format((sdss_v(DR18), sdss_v(DR19)), "", 3, SDSS_V_KEYS),
    "mwmVisit": Format((mwm_visit_file(),), "", 3, MWM_KEYS),
    "mwmStar": Format((mwm_star_file(),), "", 2, MWM_KEYS),
    "DESI coadd": Format((COADD,), "", 18, DESI_KEYS),
    "redrock": Format((REDROCK,), "", 2, DESI_KEYS),
}


# Comparison


def read_items(kind, data, folder):
    """Return the items of a file, after checking the time and the memory that they take."""
    path, file_data = NAMES.get(kind, "file.fits"), data
    if kind in BESIDE:
        (folder / BESIDE[kind][0]).write_bytes(data)
        path, file_data = str(folder / BESIDE[REDSHIFTS.get(kind, kind)][0]), None
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


def with_headers_of(original, data):
    """Return the data of a mutated file beside the headers of the original, for a file that astropy cannot open."""
    if len(data) != len(original):
        return original
    mended = bytearray(data)
    with fits.open(io.BytesIO(original)) as hdus:
        for first, end in ((hdu.fileinfo()["hdrLoc"], hdu.fileinfo()["datLoc"]) for hdu in hdus):
            mended[first:end] = original[first:end]
    return bytes(mended)


def outcome(kind, data, original, other, folder) -> tuple[str, list[str]]:
    """Return how a mutated file was read, and the differences from the plain reading."""
    items = read_items(kind, data, folder)
    spectra = [(i, item) for i, item in enumerate(items) if isinstance(item, Spectrum)]
    for error in items:
        assert not isinstance(error, SpectrumError) or (error.stage in ("read", "fetch") and error.reason)
    if not spectra:
        return "refused", []
    joined = not any("cannot be used" in item.note or "beside" in item.note for _, item in spectra)
    how = "equal" if joined or kind not in REDSHIFTS else "refused"  # and the spectra are read without redshifts
    try:
        expected = plain_items(kind, with_extend(data), other, joined)
    except Exception:  # whatever astropy raises: the headers must then be read as those of the whole file
        how, expected = "equal to the original", plain_items(kind, with_headers_of(original, data), other, joined)
    if len(items) != len(expected):
        return "different", [f"{len(items)} items, expected {len(expected)}"]
    wrong = [difference for i, item in spectra for difference in differences(item, expected[i])]
    return ("different" if wrong else how), wrong


@pytest.fixture
def folder(tmp_path):
    for name, data in BESIDE.values():
        (tmp_path / name).write_bytes(data)
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
