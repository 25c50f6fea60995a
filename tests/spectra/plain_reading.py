"""Plain reading of FITS spectra with astropy, to compare the readers with: slow, and without any check.

An item of a file is a dict of the values that the record should have. A value of None is an unknown number.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from astropy.io import fits

from raystellar.spectra.spspec import CLASSES, NO_DATA

C = 299_792.458


def plain_items(kind: str, data: bytes, other: bytes, joined: bool) -> list[dict]:
    """Return the values of all items of a file, as astropy reads them.

    Parameters
    ----------
    kind : name of the format
    data : contents of the file
    other : file beside it: redshifts for a file of spectra, and spectra for a file of redshifts
    joined : whether the redshifts are used
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if kind in PAIRS:
            return PAIRS[kind](data, other if joined else None)
        if kind in REDSHIFTS:
            return PAIRS[REDSHIFTS[kind]](other, data if joined else None)
        with opened(data) as hdus:
            return READERS[kind](hdus)


def opened(data):
    return fits.open(io.BytesIO(data), memmap=False, character_as_bytes=True)


def card(header, key, default=None):
    value = header.get(key)
    return default if value is None else value


def text(value):
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return value.rstrip("\0").strip(" ") if isinstance(value, str) else value


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
    value, common = spec_values(hdus)
    plate, mjd, fibre = value("plate", "PLATEID"), value("mjd", "MJD"), value("fiberid", "FIBERID")
    names = {"spec_id": f"{int(plate)}-{int(mjd)}-{int(fibre)}", "plate": plate, "mjd": mjd, "fiberid": fibre}
    return [names | common]


def plain_sdss_v(hdus):
    value, common = spec_values(hdus)
    mjd, catalogid, fibre = value("mjd", "MJD"), value("catalogid", "CATALOGID"), value("fiberid", "FIBERID")
    field = value("field") if value("camcol") is None else None
    field = value("", "FIELDID", "FIELD") if field in (None, "") else field
    names = {"spec_id": f"{integer(field)}-{int(mjd)}-{integer(catalogid)}", "plate": 0, "mjd": mjd,
             "fiberid": max(0, integer(fibre)), "fieldid": integer(field), "catalogid": integer(catalogid)}  # fmt: skip
    return [names | common]


def spec_values(hdus):
    """Return the function that looks up a value, and the values that all spec files have."""
    primary, coadd, table = hdus[0].header, hdus[1], hdus[2]
    arrays = {name: column(coadd, name).astype(np.float32).reshape(-1) for name in ("loglam", "flux", "ivar")}

    def value(name, *keywords):
        values = column(table, name)
        found = None if values is None else text(values.reshape(-1)[0].item())
        for keyword in keywords:
            found = card(primary, keyword) if found in (None, "") else found
        return found

    zwarning, sn = int(value("zwarning") or 0), value("sn_median_all")
    return value, {
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
    return [{
        "spec_id": f"{plate}-{mjd}-{fibre}", "plate": plate, "mjd": mjd, "fiberid": fibre,
        "run2d": card(header, "VERS2D", ""), "ra": card(header, "RAOBJ"), "dec": card(header, "DECOBJ"),
        "object_class": CLASSES.get(kind, ""), "subclass": "late" if kind == 6 else "", "is_sky": sky,
        "z": card(header, "Z"), "z_err": card(header, "Z_ERR"), "zwarning": 1 * sky | 4 * doubt,
        "sn": median_sn(loglam, rows[0], ivar), "loglam": loglam, "flux": rows[0], "ivar": ivar,
    }]  # fmt: skip


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
    return [{
        "spec_id": f"lamost-{obs_id}" if obs_id != "" else "-".join(map(str, ["lamost", *parts])), "plate": 0,
        "mjd": card(header, "MJD"), "fiberid": card(header, "FIBERID"), "run2d": card(header, "VERSPIPE", ""),
        "ra": card(header, "RA"), "dec": card(header, "DEC"), "object_class": "" if kind == "UNKNOWN" else kind,
        "subclass": card(header, "SUBCLASS", ""), "is_sky": sky, "z": redshift(card(header, "Z")),
        "z_err": redshift(card(header, "Z_ERR")), "zwarning": 1 * sky, "sn": median_sn(loglam, flux, ivar),
        "loglam": loglam, "flux": flux, "ivar": ivar,
    }]  # fmt: skip


def redshift(value):
    return None if value is None or value <= -9000 else value


def plain_plate(plate, zbest):
    with opened(plate) as hdus:
        header, flux, ivar = hdus[0].header, hdus[0].data.astype(np.float32), hdus[1].data.astype(np.float32)
        values = {name: column(hdus[5], name) for name in ("objtype", "ra", "dec")}
        loglam = lattice(header, flux.shape[1])
        plate_id, mjd, run2d = int(card(header, "PLATEID")), int(card(header, "MJD")), card(header, "RUN2D", "")
    if zbest is not None:
        names = ("class", "subclass", "z", "z_err", "zwarning", "sn_median_all", "sn_median", "plug_ra", "plug_dec")
        with opened(zbest) as hdus:
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


def integer(value):
    """Return a number that names an object, also where it is a text; -1 where there is none."""
    value = text(value)
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() else None
    return -1 if value is None else int(value)


def plain_mwm(hdus):
    primary, items = hdus[0].header, []
    for hdu in hdus[1:]:
        name = str(hdu.header.get("EXTNAME", ""))
        if not name.startswith("BOSS/") or hdu.header["NAXIS"] != 2:
            continue
        for row in range(hdu.header["NAXIS2"]):
            items.append(plain_mwm_row(primary, hdu, name, row))
    return items


def plain_mwm_row(primary, hdu, name, row):
    def value(key):
        values = column(hdu, key)
        return None if values is None else values[row] if values.ndim > 1 else text(values[row].item())

    visit = value("mjd") is not None
    kind = "xcsao_v_rad" if visit or value("v_rad") is None else "v_rad"
    velocity, error = value(kind), value(kind.replace("v_rad", "e_v_rad"))
    loglam, shifted = value("wavelength"), value("in_stack") if visit else True
    if loglam is not None:
        loglam = np.log10(loglam.astype(np.float64))
    else:
        loglam = hdu.header["CRVAL"] + hdu.header["CDELT"] * np.arange(hdu.header["NPIXELS"])
    if shifted:
        loglam = loglam - np.log10(1 - velocity / C)
    arrays = {"loglam": loglam.astype(np.float32), "flux": value("flux").astype(np.float32),
              "ivar": value("ivar").astype(np.float32)}  # fmt: skip
    field, catalogid = value("fieldid"), value("catalogid")
    identity = {"spec_id": f"{field}-{value('mjd')}-{catalogid}", "mjd": value("mjd"), "fieldid": field,
                "catalogid": catalogid}  # fmt: skip
    if not visit:
        sdss_id = max(integer(card(primary, "SDSS_ID")), integer(value("sdss_id")))
        identity = {"spec_id": f"mwmStar-{sdss_id}-{name[5:].lower()}", "mjd": max(0, value("max_mjd") or 0),
                    "catalogid": max(-1, integer(card(primary, "CAT_ID"))),
                    "fieldid": max(-1, integer(field))}  # fmt: skip
    zwarning = max(0, value("zwarning_flags") or 0)
    return identity | arrays | {
        "plate": 0, "fiberid": 0, "run2d": value("run2d") or "", "ra": float_of(card(primary, "RA")),
        "dec": float_of(card(primary, "DEC")), "is_sky": bool(zwarning & 1), "object_class": "STAR", "subclass": "",
        "z": velocity / C if float_of(velocity) is not None else None,
        "z_err": error / C if float_of(error) is not None else None,
        "zwarning": zwarning | (0 if shifted else 4), "sn": median_sn(**arrays),
    }  # fmt: skip


def float_of(value):
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def plain_desi(coadd, redrock):
    rows = {}
    if redrock is not None:
        with opened(redrock) as hdus:
            names = ("targetid", "z", "zerr", "zwarn", "spectype", "subtype")
            lists = {name: column(hdus[1], name).tolist() for name in names}
        rows = {one[0]: dict(zip(names, one, strict=True)) for one in zip(*lists.values(), strict=True)}
    with opened(coadd) as hdus:
        primary, named = hdus[0].header, {str(hdu.header.get("EXTNAME")): hdu for hdu in hdus[1:]}
        arms = [name.removesuffix("_WAVELENGTH") for name in named if name.endswith("_WAVELENGTH")]
        waves = [named[f"{arm}_WAVELENGTH"].data.astype(np.float64) for arm in arms]
        parts = [[np.array(named[f"{arm}_{kind}"].data) for kind in ("FLUX", "IVAR", "MASK")] for arm in arms]
        table = {name: column(named["FIBERMAP"], name) for name in ("targetid", "target_ra", "target_dec", "objtype",
                                                                    "max_mjd")}  # fmt: skip
        run2d = next((str(primary.get(f"DEPVER{key[6:]}") or "") for key in primary
                      if key.startswith("DEPNAM") and primary[key] == "SPECPROD"), "")  # fmt: skip
    start = min(float(wave[0]) for wave in waves)
    firsts = [round((float(wave[0]) - start) / 0.8) for wave in waves]
    size = max(first + len(wave) for first, wave in zip(firsts, waves, strict=True))
    loglam = np.log10(start + 0.8 * np.arange(size)).astype(np.float32)
    items = []
    for row in range(len(parts[0][0])):
        total, weight, last = np.zeros(size), np.zeros(size), np.zeros(size, np.float32)
        for first, (fluxes, ivars, masks) in zip(firsts, parts, strict=True):
            for pixel in range(fluxes.shape[1]):
                flux, ivar = fluxes[row, pixel], ivars[row, pixel]
                last[first + pixel] = flux
                if masks[row, pixel] == 0 and is_good(flux, ivar):
                    weight[first + pixel] += float(ivar)
                    total[first + pixel] += float(ivar) * float(flux)
        flux = np.where(weight > 0, total / np.where(weight > 0, weight, 1), last).astype(np.float32)
        arrays = {"loglam": loglam, "flux": flux, "ivar": weight.astype(np.float32)}
        targetid, day = int(table["targetid"][row]), 0 if table["max_mjd"] is None else float(table["max_mjd"][row])
        found = rows.get(targetid, {})
        sky = text(table["objtype"][row].item()) == "SKY"
        items.append(arrays | {
            "spec_id": f"desi-{targetid}", "plate": 0, "mjd": int(day) if 0 < day < 2**31 else 0, "fiberid": 0,
            "run2d": run2d, "ra": float(table["target_ra"][row]), "dec": float(table["target_dec"][row]),
            "object_class": text(found.get("spectype", "")), "subclass": text(found.get("subtype", "")), "is_sky": sky,
            "z": found.get("z"), "z_err": found.get("zerr"), "zwarning": int(found.get("zwarn", 0)) | 1 * sky,
            "catalogid": targetid if targetid > 0 else -1, "sn": median_sn(**arrays),
        })  # fmt: skip
    return items


def is_good(flux, ivar):
    return 2.0**-63 < ivar < 2.0**64 and (2.0**-63 < abs(flux) < 2.0**64 or flux == 0)


PAIRS = {"spPlate": plain_plate, "DESI coadd": plain_desi}
"""Readers of files of many spectra, and of the redshifts beside them."""

REDSHIFTS = {"spZbest": "spPlate", "redrock": "DESI coadd"}
"""Formats of redshifts, and the format of the spectra that they stand beside."""

READERS = {
    "spec lite": plain_spec,
    "spec full": plain_spec,
    "BOSS": plain_spec,
    "upper case": plain_spec,
    "SDSS-V": plain_sdss_v,
    "mwmVisit": plain_mwm,
    "mwmStar": plain_mwm,
    "spSpec": plain_spspec,
    "LAMOST image": plain_lamost,
    "LAMOST table": plain_lamost,
}
"""Readers of all other formats."""
