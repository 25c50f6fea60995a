"""Spectra and tables of astropy, pandas, specutils and xarray as mappings of arrays by name, for ``arrays``.

Classes of other libraries are recognised by their names or their attributes, so that no library is imported that the
user does not use. A container is never iterated before it is recognised: an indexed specutils spectrum never ends.

A table (astropy or pandas) whose cells of ``flux`` are arrays holds a spectrum in each row. A table whose cells of
``flux`` are numbers is one spectrum, with a pixel in each row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from astropy.table import Row, Table

from raystellar.errors import InputError
from raystellar.spectra.arrays import NAMES, SCALARS, WAVELENGTHS
from raystellar.spectra.quantities import Values, noise_of

AIR_CURE = "convert them to vacuum, with air_to_vac of specutils.utils.wcs_utils, and pass the arrays in a mapping"
"""Cure for air wavelengths."""


def is_container(item: Any) -> bool:
    """Return whether ``item`` is a mapping, table or spectrum that ``as_mappings`` takes."""
    return _reader(item) is not None


def as_mappings(item: Any) -> Iterator[Mapping[str, Any]]:
    """Yield mappings of arrays by the names of ``arrays.NAMES``.

    Parameters
    ----------
    item : object for which ``is_container`` is true

    Raises
    ------
    InputError : the wavelengths are air wavelengths, or an uncertainty does not say how noisy the flux is
    """
    reader = _reader(item)
    assert reader is not None
    return reader(item)


def _reader(item: Any) -> Callable[[Any], Iterator[Mapping[str, Any]]] | None:
    if isinstance(item, Table):
        return _of_table
    if isinstance(item, Row):
        return _of_row
    if _is(item, "xarray", "Dataset"):  # which is a Mapping, too
        return _of_dataset
    if isinstance(item, Mapping):
        return _of_mapping
    if _is(item, "pandas", "DataFrame"):
        return _of_frame
    if not isinstance(item, type) and hasattr(item, "spectral_axis") and hasattr(item, "flux"):
        return _of_spectrum
    return None


def _is(item: Any, package: str, name: str) -> bool:
    return any(kind.__name__ == name and kind.__module__.partition(".")[0] == package for kind in type(item).__mro__)


def _of_mapping(mapping: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield mapping


# specutils -------------------------------------------------------------------------------------------------


def _of_spectrum(item: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays of a Spectrum, Spectrum1D or SpectrumCollection of specutils."""
    axis, flux, metas = item.spectral_axis, item.flux, getattr(item, "meta", None)
    for meta in metas if isinstance(metas, list) else [metas]:
        _check_vacuum(meta or {}, getattr(item, "wcs", None))
    pixels = {"flux": Values.of(flux)}
    if item.mask is not None:
        pixels["mask"] = Values.of(item.mask)
    if item.uncertainty is not None:
        name, noise = noise_of(item.uncertainty)
        pixels[name] = noise
    index = getattr(item, "spectral_axis_index", None)
    if np.ndim(axis) == 1 and index is not None:
        pixels = {name: values.with_last(index) for name, values in pixels.items()}
    about = _known(metas, [name for name in SCALARS if name != "rv"]) if isinstance(metas, Mapping) else {}
    yield {**about, **pixels, "wavelength": Values.of(axis), "rv": _velocity(axis)}


def _velocity(axis: Any) -> Values:
    """Return the radial velocity of a spectral axis, masked where it is 0, the value of specutils for one not set."""
    velocity = Values.of(getattr(axis, "radial_velocity", 0.0))
    return Values(velocity.data, velocity.data == 0.0, velocity.unit)


def _check_vacuum(meta: Mapping[str, Any], wcs: Any = None) -> None:
    """Raise InputError where the metadata or the WCS say that the wavelengths are air wavelengths."""
    header = meta.get("header")
    cards: list[Any] = [part for part in (meta, header) if hasattr(part, "get")]
    types = [str(part.get(f"CTYPE{axis}", "")) for part in cards for axis in (1, 2, 3)]
    words = [str(part.get("AIRORVAC", "")).strip().lower() for part in cards]
    physical = [getattr(one, "world_axis_physical_types", None) or () for one in (wcs, meta.get("original_wcs"))]
    if (
        any(name.startswith("AWAV") for name in types)
        or "air" in words
        or any(kind == "em.wl;obs.atmos" for kinds in physical for kind in kinds)
    ):
        raise InputError(f"the wavelengths are air wavelengths (AWAV); {AIR_CURE}")


def _known(meta: Mapping[str, Any], names: Iterable[str]) -> dict[str, Values]:
    return {name: Values.of(meta[name]) for name in names if meta.get(name) is not None}


# Tables ----------------------------------------------------------------------------------------------------


def _of_table(table: Table) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays of an astropy table."""
    _check_vacuum(table.meta)
    columns = {name: (table[name], getattr(table[name], "unit", None)) for name in table.colnames}
    return _of_columns(columns, table.meta, len(table))


def _of_row(row: Row) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays of a row of an astropy table."""
    return _of_table(row.table[row.index : row.index + 1])


def _of_frame(frame: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays of a pandas DataFrame."""
    if not frame.columns.is_unique:
        raise InputError("two columns of the table have one name; rename or drop one")
    if set(frame.index.names) & set(NAMES):
        frame = frame.reset_index()
    _check_vacuum(frame.attrs)
    columns = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype.kind == "O":  # missing cells have a value of their own, pandas.NA
            column = column.astype(object).where(column.notna(), None)
        columns[name] = (column.to_numpy(), None)
    return _of_columns(columns, frame.attrs, len(frame))


def _of_columns(
    columns: Mapping[Any, tuple[Any, Any]], meta: Mapping[str, Any], rows: int
) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays of a table, given as columns with their units.

    A velocity, name, position or wavelength that is common to all rows may stand in ``meta``.
    """
    wavelengths = () if columns.keys() & set(WAVELENGTHS) else WAVELENGTHS
    shared = _known(meta, [name for name in (*wavelengths, *SCALARS) if name not in columns])
    flux, _ = columns.get("flux", (np.empty(0), None))
    if flux.ndim > 1 or (flux.dtype.kind == "O" and any(np.ndim(cell) for cell in flux)):
        for row in range(rows):
            yield {**shared, **{name: Values.of(column[row], unit) for name, (column, unit) in columns.items()}}
    else:
        yield {**shared, **{name: Values.of(column, unit) for name, (column, unit) in columns.items()}}


def _of_dataset(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays of an xarray Dataset, whose pixels lie along the dimension of the wavelengths."""
    _check_vacuum(dataset.attrs)
    names = [*dataset.data_vars, *(name for name in dataset.coords if name in NAMES)]
    wavelength = next((name for name in WAVELENGTHS if name in names), None)
    if wavelength and dataset[wavelength].ndim:
        dataset = dataset.transpose(..., dataset[wavelength].dims[-1])
    arrays = {name: Values.of(dataset[name]) for name in names}
    yield {**_known(dataset.attrs, [name for name in SCALARS if name not in arrays]), **arrays}
