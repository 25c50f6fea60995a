"""Names of files and columns on disk, with units and UCDs, for the metadata of all files and for the documentation.

The VOTable in the footer of each Parquet file is written with ElementTree. ``astropy.io.votable`` writes the same
elements, but breaks descriptions into lines, which readers then show, and takes 0.26 s to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from xml.etree import ElementTree

import pyarrow as pa

from raystellar.quality import Flag
from raystellar.targets import TARGETS

N_PIXELS = 4000
"""Number of pixels of the common grid. Source: Sec. 3."""

NOISE_BLOCK = 8
"""Number of grid pixels that share one value of the stored inverse variance."""

N_NOISE = N_PIXELS // NOISE_BLOCK

FITS_BLOCK = 2880
"""Length of a block of a FITS file; headers and data are padded to whole blocks [bytes]."""

FITS_CARD = 80
"""Length of a header card of a FITS file [bytes]."""

FORMAT_VERSION = 3
"""Format version of an output folder; increased when folders of an older version can no longer be read."""

# Files in an output folder
PART_NAME = "part-{:05d}.parquet"
REJECTS_DIR = "_rejects"
MANIFEST_NAME = "_manifest.parquet"
RUN_NAME = "_run.json"
JOB_NAME = "_job.json"
SUMMARY_NAME = "_summary.json"
REPORT_NAME = "_report.html"

# Files in a model bundle
WEIGHTS_NAME = "weights.safetensors"
OOD_NAME = "ood.safetensors"
BUNDLE_NAME = "bundle.json"

REJECT_STAGES = ("fetch", "read", "class", "labels", "rv", "preprocess", "predict")
"""Stages at which a spectrum may be rejected, in their order."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Column:
    """One column on disk."""

    name: str
    type: pa.DataType
    unit: str
    """Unit in plain notation, such as km/s; empty where the column has no unit."""
    description: str
    ucd: str = ""
    """Name in the vocabulary of the IVOA (UCD1+); empty where none fits."""
    values: str = ""
    """Meaning of the single values, where they are codes."""

    def field(self) -> pa.Field:
        """Return the Arrow field, with unit, description and UCD as its metadata."""
        text = f"{self.description}: {self.values}" if self.values else self.description
        return pa.field(self.name, self.type, metadata={"unit": self.unit, "description": text, "ucd": self.ucd})


def error_ucd(ucd: str) -> str:
    """Return the UCD of the error of the quantity ``ucd``."""
    return f"stat.error;{ucd}"


IDENTITY = (
    Column("path", pa.string(), "", "file the spectrum was read from, as given", "meta.ref"),
    Column(
        "spec_id",
        pa.string(),
        "",
        "name of the spectrum: plate-mjd-fiberid for SDSS, fieldid-mjd-catalogid for SDSS-V, lamost-obsid for LAMOST, "
        "desi-targetid for DESI",
        "meta.id;meta.main",
    ),
    Column("plate", pa.int32(), "", "SDSS plate number, 0 for other surveys", "meta.id;obs.field"),
    Column("mjd", pa.int32(), "d", "modified Julian date of the observation, 0 where unknown", "time.epoch"),
    Column("fiberid", pa.int32(), "", "fibre number on the plate, 0 where unknown", "meta.id;instr"),
    Column("fieldid", pa.int32(), "", "field number of SDSS-V, null for other surveys", "meta.id;obs.field"),
    Column("catalogid", pa.int64(), "", "number of the target: CATALOGID of SDSS-V, TARGETID of DESI", "meta.id;src"),
    Column("obs_id", pa.int64(), "", "number of the observation: OBSID of LAMOST", "meta.id;obs"),
    Column("run2d", pa.string(), "", "version of the spectroscopic reduction", "meta.version;meta.software"),
    Column("ra", pa.float64(), "deg", "right ascension of the target", "pos.eq.ra;meta.main"),
    Column("dec", pa.float64(), "deg", "declination of the target", "pos.eq.dec;meta.main"),
    Column("object_class", pa.string(), "", "class given by the SDSS pipeline: STAR, GALAXY or QSO", "src.class"),
    Column("subclass", pa.string(), "", "subclass given by the SDSS pipeline", "src.class"),
    Column("zwarning", pa.int32(), "", "warning bits of the SDSS pipeline's redshift", "meta.code.qual"),
    Column("sn", pa.float32(), "", "median signal-to-noise ratio per pixel", "stat.snr"),
    Column(
        "rv",
        pa.float32(),
        "km/s",
        "heliocentric radial velocity used to shift to the rest frame",
        "spect.dopplerVeloc.opt;pos.heliocentric",
    ),
    Column(
        "e_rv",
        pa.float32(),
        "km/s",
        "error of rv in its source, null where unknown",
        error_ucd("spect.dopplerVeloc.opt;pos.heliocentric"),
    ),
    Column("rv_source", pa.string(), "", "source of rv: table, pipeline, given (in Python) or none", "meta.code"),
    Column("good_fraction", pa.float32(), "", "share of the grid covered by pixels with ivar > 0"),
)

OPTIONAL_IDS = ("fieldid", "catalogid", "obs_id")
"""Numbers that only some surveys give a spectrum: null on disk where there is none, -1 in a record."""

LABELS = tuple(Column(t.name, pa.float32(), t.unit, t.description, t.ucd) for t in TARGETS)
LABEL_ERRORS = tuple(
    Column(f"e_{t.name}", pa.float32(), t.unit, f"uncertainty of {t.name} in the label table", error_ucd(t.ucd))
    for t in TARGETS
)

SPECTRA = (
    Column(
        "flux",
        pa.list_(pa.float32(), N_PIXELS),
        "",
        "rest-frame flux on the grid, standardised to mean 0 and standard deviation 1",
        "phot.flux.density;em.wl",
    ),
    Column(
        "ivar",
        pa.list_(pa.float32(), N_NOISE),
        "",
        f"mean inverse variance of the standardised flux in blocks "
        f"of {NOISE_BLOCK} grid pixels; 0 where no pixel is good",
        "stat.weight;phot.flux.density;em.wl",
    ),
)

DATASET = (
    *IDENTITY,
    *LABELS,
    *LABEL_ERRORS,
    Column(
        "star_id",
        pa.int64(),
        "",
        "identity of the star: the same for all its spectra in the label table",
        "meta.id;src",
    ),
    Column("split", pa.string(), "", "train, validation or test"),
    *SPECTRA,
)

FLAG_VALUES = ", ".join(f"{flag.value} {flag.name}" for flag in Flag)

QUALITY = (
    Column(
        "ood_score",
        pa.float32(),
        "",
        "out-of-distribution score: how unlike the training spectra; above 1 for one ordinary star in a hundred",
        "stat.fit.goodness",
    ),
    Column("flags", pa.int32(), "", "sum of the quality bits", "meta.code.qual", FLAG_VALUES),
    Column("flag_warn", pa.bool_(), "", "a bit asks for care", "meta.code.qual"),
    Column("flag_bad", pa.bool_(), "", "a bit forbids use", "meta.code.qual"),
    Column("model_id", pa.string(), "", "identity of the model bundle that made the labels", "meta.id;meta.modelled"),
)

REPEATS = (
    Column(
        "star_id",
        pa.int64(),
        "",
        "identity of the star: the same for all its spectra in the catalogue, within 2 arcsec or with one spec_id",
        "meta.id;src",
    ),
    Column("is_primary", pa.bool_(), "", "whether the row is the best one of its star", "meta.code"),
)
"""Columns that are filled when all shards are done; null before."""

ESTIMATES = tuple(
    column
    for t, label in zip(TARGETS, LABELS, strict=True)
    for column in (
        label,
        Column(f"e_{t.name}", pa.float32(), t.unit, f"error of {t.name}: half of the 68 % interval", error_ucd(t.ucd)),
    )
)

CATALOG = (*IDENTITY, *ESTIMATES, *QUALITY, *REPEATS)

REJECTS = (
    Column(
        "path", pa.string(), "", "file that was rejected, or that holds the rejected spectrum, as given", "meta.ref"
    ),
    Column("spec_id", pa.string(), "", "name of the spectrum; empty where unknown", "meta.id;meta.main"),
    Column("stage", pa.string(), "", f"stage of the rejection: {', '.join(REJECT_STAGES)}", "meta.code"),
    Column("reason", pa.string(), "", "cause, in words that can be counted", "meta.code.error"),
    Column("detail", pa.string(), "", "observed values", "meta.note"),
)


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """Return the Arrow schema of ``columns``."""
    return pa.schema([column.field() for column in columns])


# The metadata of a Parquet file that TOPCAT and astropy read: VOParquet 1.0

VERSION_KEY, CONTENT_KEY = "IVOA.VOTable-Parquet.version", "IVOA.VOTable-Parquet.content"

VOPARQUET_VERSION = "1.0"

NAMESPACE = "http://www.ivoa.net/xml/VOTable/v1.3"
"""XML namespace of all VOTables since 1.3."""

DATATYPES: Mapping[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int16(): "short",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "unicodeChar",
}
"""Names of the column types in VOTable; text may go beyond ASCII."""

VOUNITS = {"dex": "'dex'"}
"""Names of units in VOUnit syntax where they differ; VOUnit has no dex, and puts unknown units in quotes."""

TEXT_SIZES: Mapping[str, int] = {"path": 512, "detail": 512}
"""Largest number of characters of a text column. astropy needs a size; TOPCAT may cut longer texts."""

TEXT_SIZE = 64
"""Largest number of characters of any other text column."""


@lru_cache
def described_schema(columns: tuple[Column, ...], name: str) -> pa.Schema:
    """Return the Arrow schema of ``columns`` with the metadata of VOParquet.

    Parameters
    ----------
    columns : columns of the file
    name : kind of the rows, in one word
    """
    schema = arrow_schema(columns)
    return schema.with_metadata({VERSION_KEY: VOPARQUET_VERSION, CONTENT_KEY: votable(schema, name)})


def votable(schema: pa.Schema, name: str, sizes: Mapping[str, int] = TEXT_SIZES) -> str:
    """Return a VOTable without data whose fields are the columns of ``schema``.

    Parameters
    ----------
    schema : columns with their metadata
    name : kind of the rows, in one word
    sizes : largest number of characters of each text column; ``TEXT_SIZE`` for other text columns
    """
    root = ElementTree.Element("VOTABLE", version="1.4", xmlns=NAMESPACE)
    table = ElementTree.SubElement(ElementTree.SubElement(root, "RESOURCE", type="results"), "TABLE", name=name)
    for field in schema:
        about = about_field(field)
        attributes = {"unit": VOUNITS.get(about["unit"], about["unit"]), "ucd": about["ucd"]}
        known = {key: value for key, value in attributes.items() if value}
        element = ElementTree.SubElement(table, "FIELD", {"name": field.name, **_type(field, sizes), **known})
        ElementTree.SubElement(element, "DESCRIPTION").text = about["description"]
    text = ElementTree.tostring(root, encoding="unicode")
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}"


def about_field(field: pa.Field) -> dict[str, str]:
    """Return ``unit``, ``description`` and ``ucd`` of a column on disk; empty where the file has none."""
    metadata = field.metadata or {}
    return {key: metadata.get(key.encode(), b"").decode() for key in ("unit", "description", "ucd")}


def _type(field: pa.Field, sizes: Mapping[str, int]) -> dict[str, str]:
    kind = field.type
    if pa.types.is_fixed_size_list(kind):
        return {"datatype": DATATYPES[kind.value_type], "arraysize": str(kind.list_size)}
    size = {"arraysize": str(sizes.get(field.name, TEXT_SIZE))} if pa.types.is_string(kind) else {}
    return {"datatype": DATATYPES[kind], **size}
