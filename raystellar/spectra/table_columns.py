"""Choose the columns of a Parquet table of spectra by their names and types.

The lists of pixels may be columns of their own, lists in a column of structs, or numbers in a column of lists of
structs. All other quantities are columns of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from raystellar.errors import SpectrumError
from raystellar.spectra import prepared

COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "flux": ("flux", "native_flux"),
    "loglam": ("loglam", "native_loglam"),
    "wavelength": ("wavelength", "lambda", "wave"),
    "coeff0": ("COEFF0",),
    "coeff1": ("COEFF1",),
    "ivar": ("ivar", "native_ivar"),
    "error": ("error", "sigma", "uncertainty", "err", "flux_error", "flux_err", "flux_sigma", "e_flux"),
    "mask": ("mask",),
    "plate": ("plate",),
    "mjd": ("mjd",),
    "fiberid": ("fiberid", "FIBER"),
    "spec_id": ("spec_id", "specobjid", "sparcl_id", "object_id", "observation_id", "targetid", "obsid"),
    "fieldid": ("fieldid",),
    "catalogid": ("catalogid", "targetid"),
    "obs_id": ("obsid",),
    "ra": ("ra", "PLUG_RA", "target_ra", "catalog_plug_ra"),
    "dec": ("dec", "PLUG_DEC", "target_dec", "catalog_plug_dec"),
    "rv": ("rv", "RV_ADOP", "ELODIERVFINAL"),
    "e_rv": ("e_rv", "RV_ADOP_UNC", "ELODIERVFINALERR"),
    "sn": ("sn", "SNR", "sn_median_all", "official_snr"),
    "z": ("z", "redshift"),
    "z_err": ("z_err", "redshift_err", "catalog_redshift_err"),
    "zwarning": ("zwarning", "zwarn", "redshift_warning", "catalog_zwarning"),
    "object_class": ("object_class", "class", "spectype", "class_label"),
    "subclass": ("subclass", "subtype", "catalog_subclass"),
    "run2d": ("run2d", "catalog_run2d"),
}
"""Accepted names of each column, the preferred one first. Case and underscores do not matter."""

VECTORS = ("flux", "loglam", "wavelength", "ivar", "error", "mask")
"""Quantities with a list of values in each row."""

TEXTS = ("object_class", "subclass")
"""Quantities that are texts."""

IDENTIFIERS = ("spec_id", "fieldid", "catalogid", "obs_id", "run2d")
"""Quantities that are texts, or integers of up to 64 bits that are never rounded."""

TEXTS_OR_NUMBERS = ("plate", "mjd", "fiberid")
"""Quantities that are numbers, which some tables write as texts."""

INSTEAD = {
    "wavelength": ("loglam",),
    "coeff0": ("loglam", "wavelength"),
    "coeff1": ("loglam", "wavelength"),
    "error": ("ivar",),
}
"""Quantities that are read only if none of these others has a column."""

NO_MASK_BESIDE = ("processed_flux", "spectroflux_u")
"""Columns of the published data set and of SDSS spectra in MultimodalUniverse, whose ``mask`` is not read.

``mask`` of MultimodalUniverse marks each pixel that has any bit of the AND mask of SDSS. These are mostly good pixels
under a bright sky, in some spectra nearly all pixels. In both tables pixels that are really bad have ivar = 0.
"""

_OURS = "rv_source"  # a column of all outputs of raystellar, and of no other table


class Leaf(NamedTuple):
    """A column of numbers, texts or lists, as Parquet stores it: alone, or in a column of structs."""

    number: int
    """Position among the leaves of the schema."""
    column: str
    """Name of the column at the root of the schema."""
    child: str
    """Name in the structs of that column; empty for a column that holds no structs."""
    type: pa.DataType
    """Type of the value in one row; a list for a number in a list of structs."""
    about: Mapping[bytes, bytes]
    """Metadata of the field."""

    @property
    def name(self) -> str:
        """Name that is compared with the accepted names."""
        return self.child or self.column


def choose(schema: pa.Schema) -> dict[str, Leaf]:
    """Return the leaf of each quantity of ``COLUMN_NAMES`` that a table of spectra has.

    Raises
    ------
    SpectrumError : a needed column is missing, a column has the wrong type, or the file is no table of spectra
    """
    leaves = list(leaves_of(schema))
    columns = [leaf for leaf in leaves if not leaf.child]
    if _OURS in schema.names:
        raise prepared.refusal(schema)
    chosen = _choose(columns, _in_structs(leaves))
    for needed in (("flux",), ("ivar", "error")):
        if chosen.keys().isdisjoint(needed):
            names = ", ".join(name for key in needed for name in COLUMN_NAMES[key])
            raise SpectrumError("read", f"missing column {needed[0]}", f"accepted: {names}")
    if not {fold(leaf.name) for leaf in columns}.isdisjoint(map(fold, NO_MASK_BESIDE)):
        chosen.pop("mask", None)
    return chosen


def fold(name: str) -> str:
    """Return the name of a column in lower case without underscores, for comparisons."""
    return name.strip().lower().replace("_", "")


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column holds texts, maybe as bytes or as a dictionary."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)  # astropy writes texts as bytes
        or pa.types.is_large_binary(kind)
    )


def leaves_of(schema: pa.Schema) -> Iterator[Leaf]:
    """Yield each column, and after a column of structs, or of lists of structs, each child of the structs."""
    number = 0
    for field in schema:
        yield Leaf(number, field.name, "", field.type, field.metadata or {})
        each_pixel = _is_list(field.type) and pa.types.is_struct(field.type.value_type)
        structs = field.type.value_type if each_pixel else field.type
        for child in structs if pa.types.is_struct(structs) else ():
            kind = pa.list_(child.type) if each_pixel else child.type
            yield Leaf(number, field.name, child.name, kind, child.metadata or {})
            number += _count_leaves(child.type)
        number += 0 if pa.types.is_struct(structs) else _count_leaves(field.type)


def _count_leaves(kind: pa.DataType) -> int:
    """Return the number of leaves of a type."""
    if isinstance(kind, pa.BaseExtensionType):
        return _count_leaves(kind.storage_type)
    return sum(_count_leaves(kind.field(i).type) for i in range(kind.num_fields)) or 1


def _in_structs(leaves: Sequence[Leaf]) -> list[Leaf]:
    """Return the leaves in the column of structs that holds the flux, unless the flux is a column of its own.

    A column without wavelengths, such as a light curve, is passed over where another one has both.
    """
    fluxes = _columns_with(("flux",), leaves)
    if not fluxes or any(
        not leaf.child and leaf.column in fluxes and _is_list_of_numbers(leaf.type) for leaf in leaves
    ):
        return []
    spectra = [name for name in fluxes if name in _columns_with(("loglam", "wavelength"), leaves)] or fluxes
    if len(spectra) > 1:
        raise SpectrumError(
            "read", "several spectra in a row", f"in the columns {', '.join(spectra)}; write one of them"
        )
    return [leaf for leaf in leaves if leaf.child and leaf.column == spectra[0]]


def _columns_with(quantities: Sequence[str], leaves: Sequence[Leaf]) -> list[str]:
    """Return the names of the columns that hold lists of one of these quantities."""
    names = {fold(name) for key in quantities for name in COLUMN_NAMES[key]}
    holders = [leaf for leaf in leaves if fold(leaf.name) in names and _is_list_of_numbers(leaf.type)]
    return list(dict.fromkeys(leaf.column for leaf in holders))


def _choose(columns: Sequence[Leaf], in_structs: Sequence[Leaf]) -> dict[str, Leaf]:
    """Return the leaf of each quantity of ``COLUMN_NAMES`` that the file has."""
    by_column = {fold(leaf.name): leaf for leaf in reversed(columns)}
    by_vector = by_column | {fold(leaf.name): leaf for leaf in reversed(in_structs)}
    count = Counter((leaf.column, leaf.child) for leaf in (*columns, *in_structs))
    chosen: dict[str, Leaf] = {}
    for key, names in COLUMN_NAMES.items():
        if any(other in chosen for other in INSTEAD.get(key, ())):
            continue
        by_name = by_vector if key in VECTORS else by_column
        named = [by_name[fold(name)] for name in names if fold(name) in by_name]
        fitting = [leaf for leaf in named if _fits(key, leaf.type)]
        if named and not fitting:
            raise SpectrumError("read", f"bad column {key}", f"{named[0].name} is of type {named[0].type}")
        if fitting:
            chosen[key] = leaf = fitting[0]
            if count[leaf.column, ""] > 1 or count[leaf.column, leaf.child] > 1:
                raise SpectrumError("read", f"bad column {key}", f"several columns are named {leaf.name}")
    return chosen


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_list_of_numbers(kind: pa.DataType) -> bool:
    return _is_list(kind) and bool(_is_number(kind.value_type) or pa.types.is_boolean(kind.value_type))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _fits(key: str, kind: pa.DataType) -> bool:
    """Return whether a column may have this type."""
    if key in VECTORS:
        return _is_list_of_numbers(kind)
    if pa.types.is_null(kind):  # a column without any value
        return True
    if key in TEXTS:
        return is_text(kind)
    if key in TEXTS_OR_NUMBERS and is_text(kind):
        return True
    if key in IDENTIFIERS:
        return is_text(kind) or _is_number(kind) or bool(pa.types.is_decimal(kind) and kind.scale == 0)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return _is_number(kind) or (key == "zwarning" and bool(pa.types.is_boolean(kind)))
