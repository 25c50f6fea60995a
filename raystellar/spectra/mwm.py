"""Read mwmStar and mwmVisit files of the Milky Way Mapper (SDSS-V): optical spectra of one star.

Data model: https://data.sdss.org/datamodel/files/MWM_ASTRA/V_ASTRA/spectra/star/SDSS_ID_GROUPS/mwmStar.html,
https://data.sdss.org/datamodel/files/MWM_ASTRA/V_ASTRA/spectra/visit/SDSS_ID_GROUPS/mwmVisit.html;
how the spectra are made: https://github.com/sdss/astra, ``products/boss.py``

Each instrument and observatory has a table: BOSS/APO, BOSS/LCO, APOGEE/APO, APOGEE/LCO. A row of mwmVisit is one visit,
and the only row of mwmStar is the mean of the visits. The spectra of BOSS are read. Those of APOGEE are infrared, and a
file that has only these is refused.

Frame: The pipeline shifts spectra to the rest frame. It multiplies the wavelengths of each visit by 1 - v / c, where v
is XCSAO_V_RAD of the visit, and resamples them. The column IN_STACK tells whether a visit was shifted; the other visits
are in the heliocentric frame. For the mean, V_RAD is the mean of the velocities that were removed. A record is
heliocentric in all formats. This reader therefore divides the wavelengths by 1 - v / c, and gives z = v / c. The later
steps then remove the velocity that they choose: that of a label table, or z. The fluxes stay as they are.

Quirks of the survey:

* mwmVisit has no wavelengths. Their log10 is CRVAL + CDELT * i, in vacuum. mwmStar has them in a column, too.
* SDSS_ID and CAT_ID name the star, in the primary header. FIELDID, MJD and CATALOGID of a visit are those of its spec
  file, whose name the visit has here, too.
* The files have no class, because the Milky Way Mapper observes stars: the class is STAR.
* A visit that is not in the stack has a low S/N, or a velocity or a redshift in doubt: SMALL_DELTA_CHI2 is set.
* SNR is a mean over all pixels. The median over the ugriz bands is computed as for spec files.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, NamedTuple

import numpy as np

from raystellar.errors import SpectrumError
from raystellar.schema import FITS_CARD
from raystellar.spectra import fits_astropy
from raystellar.spectra.bitmasks import ZWARNING_SKY, ZWARNING_SMALL_DELTA_CHI2
from raystellar.spectra.content import Content
from raystellar.spectra.fits_bytes import NotStandard, Table, read_table
from raystellar.spectra.fits_image import (
    Hdu,
    count_axes,
    find_cards,
    has_sdss_telescope,
    hdus,
    read_at,
)
from raystellar.spectra.fits_tables import MAX_TABLE_BYTES
from raystellar.spectra.foreign import APOGEE
from raystellar.spectra.record import MAX_PIXELS, SPEED_OF_LIGHT_KM_S, Spectrum, check_loglam, median_sn
from raystellar.spectra.source import Item, Source
from raystellar.spectra.values import integer, number, string

MAX_VISITS = 10_000
"""Largest number of rows of a table."""

MAX_ROW_BYTES = 100 * MAX_PIXELS
"""Largest size of a row [bytes]; a row of 4648 pixels has about 130 kB."""

_PRIMARY = ("SDSS_ID", "CAT_ID", "RA", "DEC")
_DISPERSION = ("CRVAL", "CDELT", "NPIXELS")
_VECTORS = ("wavelength", "flux", "ivar")
_SCALARS = (
    "sdss_id",
    "run2d",
    "mjd",
    "max_mjd",
    "fieldid",
    "catalogid",
    "in_stack",
    "zwarning_flags",
    "v_rad",
    "e_v_rad",
    "xcsao_v_rad",
    "xcsao_e_v_rad",
)
_TABLE = re.compile(rb"EXTNAME *= '(?:BOSS|APOGEE)/(?:APO|LCO)")
_REALS = {"E": ">f4", "D": ">f8"}
_ROWS_AT = 4 * FITS_CARD  # NAXIS2; the standard fixes the order of the first cards
_NO_ROWS = b"NAXIS2  =                    0".ljust(FITS_CARD)

Row = dict[str, Any]
"""Values and vectors of a row, by lower-case name; None where the table has no such column."""


class _Spectra(NamedTuple):
    """The table of the spectra that BOSS took at one observatory."""

    observatory: str
    rows: int
    read: Callable[[int], Row]
    """Function that returns a row."""
    dispersion: dict[str, Any]
    """Values of the cards CRVAL, CDELT and NPIXELS."""


def _claims(head: bytes, name: str) -> bool:
    """Claim files with an empty primary HDU and tables of BOSS or APOGEE, or with cards or the name of such files."""
    if has_sdss_telescope(head) or count_axes(head) != 0:
        return False
    if (b"BOSS/" in head or b"APOGEE/" in head) and _TABLE.search(head):
        return True
    if b"V_ASTRA " in head and b"SDSS_ID " in head:
        return True
    return os.path.basename(name).startswith(("mwmStar-", "mwmVisit-"))


def _count(content: Content) -> int:
    with content.opened() as stream:
        return sum(_rows(hdu) for _, hdu in _star(stream)[1])


def _read(content: Content, first: int) -> Iterator[Item]:
    with content.opened() as stream:
        star, tables = _star(stream)
        for observatory, hdu in tables:
            table = _spectra(stream, observatory, hdu)
            for row in range(first, table.rows):
                yield _item(content.path, star, table, row)
            first = max(0, first - table.rows)


def _star(stream: IO[bytes]) -> tuple[dict[str, Any], list[tuple[str, Hdu]]]:
    """Return the values of the primary header, and observatory and HDU of each table of BOSS that has rows.

    Raises
    ------
    SpectrumError : there is no spectrum of BOSS
    """
    every = hdus(stream)
    cards = find_cards(next(every).header, _PRIMARY)
    return cards, _boss_tables(every)


def _boss_tables(every: Iterator[Hdu]) -> list[tuple[str, Hdu]]:
    """Return observatory and HDU of each table of BOSS that has rows, as ``_star`` does."""
    named = [(str(find_cards(hdu.header, ("EXTNAME",)).get("EXTNAME")), hdu) for hdu in every]
    filled = [(name, hdu) for name, hdu in named if hdu.cards.get("NAXIS") == 2 and _rows(hdu)]
    tables = [(name.removeprefix("BOSS/").lower(), hdu) for name, hdu in filled if name.startswith("BOSS/")]
    if tables:
        return tables
    if any(name.startswith("APOGEE/") for name, _ in filled):
        raise SpectrumError("read", APOGEE, "the file has infrared spectra of the star, and no optical one")
    raise SpectrumError("read", "no spectra", f"no rows in the tables {', '.join(name for name, _ in named)}")


def _rows(hdu: Hdu) -> int:
    """Return the number of rows of a table."""
    rows = hdu.cards.get("NAXIS2")
    if type(rows) is not int or not 0 <= rows <= MAX_VISITS:
        raise SpectrumError("read", "unreasonable size", f"a table of {rows!r} rows")
    return rows


def _spectra(stream: IO[bytes], observatory: str, hdu: Hdu) -> _Spectra:
    """Return the spectra in a table, which are not read yet. A table that cannot be read gives a reason in each row."""
    try:
        return _Spectra(observatory, _rows(hdu), _reader(stream, hdu), find_cards(hdu.header, _DISPERSION))
    except SpectrumError as error:
        return _Spectra(observatory, _rows(hdu), partial(_no_row, error), {})


def _reader(stream: IO[bytes], hdu: Hdu) -> Callable[[int], Row]:
    """Return the function that returns a row of a table."""
    try:
        return partial(_row, stream, hdu, _columns(hdu))
    except NotStandard:
        return partial(_row_of, _columns_with_astropy(stream, hdu))


def _no_row(error: SpectrumError, row: int) -> Row:
    raise error


def _columns(hdu: Hdu) -> Table:
    """Return the columns of a table, as a table of one row at byte 0.

    Raises
    ------
    NotStandard : ``fits_bytes`` does not decode the table
    """
    if not hdu.header.startswith(b"NAXIS2  ", _ROWS_AT):
        raise NotStandard("NAXIS2")
    layout = read_table(hdu.header[:_ROWS_AT] + _NO_ROWS + hdu.header[_ROWS_AT + FITS_CARD :], 0, 0).layout
    if layout.row_bytes > MAX_ROW_BYTES:
        raise SpectrumError("read", "unreasonable size", f"a row of {layout.row_bytes} bytes")
    positions = [layout.names[name] + 1 for name in (*_VECTORS, *_SCALARS) if name in layout.names]
    if find_cards(hdu.header, tuple(f"{key}{n}" for n in positions for key in ("TSCAL", "TZERO", "TNULL"))):
        raise NotStandard("scaled or null values")
    return Table(layout, 1, 0, layout.row_bytes)


def _row(stream: IO[bytes], hdu: Hdu, columns: Table, row: int) -> Row:
    """Return a row of a table that ``fits_bytes`` decodes."""
    size = columns.layout.row_bytes
    data = read_at(stream, hdu.start + row * size, size)
    vectors = {name: _pixels(columns, data, name) for name in _VECTORS}
    return vectors | {name: _scalar(columns, data, name) for name in _SCALARS}


def _pixels(columns: Table, data: bytes, name: str) -> np.ndarray | None:
    """Return a column of pixels in a row; None where the table has no such column of real numbers."""
    field = columns.layout.field(name)
    if field is None or field.code not in _REALS:
        return None
    return np.frombuffer(data, _REALS[field.code], field.repeat, field.offset)


def _scalar(columns: Table, data: bytes, name: str) -> bool | int | float | str | None:
    """Return a single value in a row; None where the table has no such column."""
    field = columns.layout.field(name)
    if field is not None and field.code == "L" and field.repeat == 1:
        return data[field.offset] == ord("T")
    return columns.first(data, name)


def _columns_with_astropy(stream: IO[bytes], hdu: Hdu) -> dict[str, np.ndarray | None]:
    """Return the columns of a table that ``fits_bytes`` does not decode."""
    size = hdu.end - hdu.at
    if size > MAX_TABLE_BYTES:
        raise SpectrumError("read", "unreasonable size", f"a table of {size} bytes")
    with fits_astropy.opened_table(read_at(stream, hdu.at, size), MAX_VISITS) as table:
        return {name: fits_astropy.values_of(table, name) for name in (*_VECTORS, *_SCALARS)}


def _row_of(columns: dict[str, np.ndarray | None], row: int) -> Row:
    """Return a row of a table that astropy reads."""
    values: Row = {}
    for name, column in columns.items():
        value = None if column is None else column[row]
        values[name] = value if name in _VECTORS or value is None else _plain(value)
    return values


def _plain(value: Any) -> Any:
    """Return a value of astropy as one of Python."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.strip(" ") if isinstance(value, str) else value


def _item(path: str, star: dict[str, Any], table: _Spectra, row: int) -> Item:
    """Return the spectrum in a row, or the reason why it cannot be used."""
    try:
        values = table.read(row)
    except NotStandard as error:
        return SpectrumError("read", "unreadable FITS", f"row {row} of BOSS/{table.observatory.upper()}: {error}")
    except SpectrumError as error:
        return error
    identity: dict[str, Any] = {}
    try:
        identity = _identity(star, table.observatory, values)
        return _spectrum(path, star, table, values, identity)
    except SpectrumError as error:
        return SpectrumError(error.stage, error.reason, error.detail, identity.get("spec_id", ""))


def _identity(star: dict[str, Any], observatory: str, values: Row) -> dict[str, Any]:
    """Return the values by which a spectrum is known: those of the spec file for a visit, SDSS_ID for a mean."""
    field, catalogid = number(values, "fieldid"), number(values, "catalogid")
    identity = {"plate": 0, "fiberid": 0, "fieldid": max(-1, field)}
    if _is_visit(values):
        mjd = integer(values, "mjd")
        if field > 0 and catalogid > 0:
            return identity | {"spec_id": f"{field}-{mjd}-{catalogid}", "mjd": mjd, "catalogid": catalogid}
        raise SpectrumError("read", "missing catalogid", f"field {field}, catalogid {catalogid}")
    sdss_id = max(number(star, "SDSS_ID"), number(values, "sdss_id"))
    if sdss_id <= 0:
        raise SpectrumError("read", "missing SDSS_ID", f"SDSS_ID is {star.get('SDSS_ID')!r}")
    return identity | {
        "spec_id": f"mwmStar-{sdss_id}-{observatory}",
        "mjd": max(0, integer(values, "max_mjd", default=0)),
        "catalogid": max(-1, number(star, "CAT_ID")),
        "aliases": (f"mwmStar-{sdss_id}",),
    }


def _is_visit(values: Row) -> bool:
    """Return whether a row is one visit, and not the mean of several."""
    return values["mjd"] is not None


def _spectrum(path: str, star: dict[str, Any], table: _Spectra, values: Row, identity: dict[str, Any]) -> Spectrum:
    """Return the record of a row, with heliocentric wavelengths."""
    flux, ivar = (_vector(values, name) for name in ("flux", "ivar"))
    velocity, error, shifted = _velocity(values)
    loglam = _loglam(values, table.dispersion, len(flux))
    if shifted:
        loglam = loglam - math.log10(1.0 - velocity / SPEED_OF_LIGHT_KM_S)
    if not len(flux) == len(ivar) == len(loglam):
        raise SpectrumError("read", "columns of unequal length", f"{len(loglam)}, {len(flux)}, {len(ivar)} pixels")
    loglam = loglam.astype(np.float32)
    check_loglam(loglam)
    zwarning = max(0, integer(values, "zwarning_flags", default=0))
    return Spectrum(
        path=path,
        **identity,
        run2d=string(values, "run2d"),
        ra=_real(star, "RA"),
        dec=_real(star, "DEC"),
        object_class="STAR",
        subclass="",
        is_sky=bool(zwarning & ZWARNING_SKY),
        z=velocity / SPEED_OF_LIGHT_KM_S,
        z_err=error / SPEED_OF_LIGHT_KM_S,
        zwarning=zwarning if shifted else zwarning | ZWARNING_SMALL_DELTA_CHI2,
        sn=median_sn(loglam, flux, ivar),
        loglam=loglam,
        flux=flux,
        ivar=ivar,
    )


def _velocity(values: Row) -> tuple[float, float, bool]:
    """Return the velocity of the star and its error [km/s], and whether the velocity was removed.

    Raises
    ------
    SpectrumError : the velocity that was removed is not in the file
    """
    visit = _is_visit(values)
    if visit and not isinstance(values["in_stack"], bool):
        raise SpectrumError("read", "missing column in_stack", "the frame of the visit is unknown")
    shifted = values["in_stack"] if visit else True
    name = "xcsao_v_rad" if visit or values["v_rad"] is None else "v_rad"
    velocity, error = _real(values, name), _real(values, name.replace("v_rad", "e_v_rad"))
    if shifted and not abs(velocity) < SPEED_OF_LIGHT_KM_S:  # NaN too
        raise SpectrumError("read", f"missing {name}", f"the velocity that was removed is {velocity}")
    return velocity, error, shifted


def _loglam(values: Row, dispersion: dict[str, Any], pixels: int) -> np.ndarray:
    """Return log10 of the wavelengths in the table (n,) float64, from their column or else from the header."""
    if values["wavelength"] is not None:
        with np.errstate(all="ignore"):
            return np.log10(values["wavelength"].astype(np.float64))
    crval, cdelt, n = (dispersion.get(key) for key in _DISPERSION)
    if not isinstance(crval, (int, float)) or not isinstance(cdelt, (int, float)) or n != pixels:
        raise SpectrumError("read", "missing CRVAL and CDELT", f"{crval!r}, {cdelt!r}, NPIXELS = {n!r} of {pixels}")
    return crval + cdelt * np.arange(pixels)


def _vector(values: Row, name: str) -> np.ndarray:
    """Return a column of pixels (n,) float32."""
    vector = values[name]
    if vector is None:
        raise SpectrumError("read", f"missing column {name}", "needed: flux, ivar")
    if vector.ndim != 1 or vector.dtype.kind != "f" or len(vector) > MAX_PIXELS:
        raise SpectrumError("read", f"bad column {name}", f"{vector.shape} of {vector.dtype}")
    with np.errstate(all="ignore"):  # a float64 may be too large for a float32
        return vector.astype(np.float32)


def _real(values: Row, name: str) -> float:
    """Return a number; NaN where it is missing or not a number."""
    value = values.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


SOURCE = Source("SDSS-V mwmStar or mwmVisit file", _claims, _read, _count)
