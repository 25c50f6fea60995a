"""Names on disk: files, columns, units. One glossary feeds the Parquet metadata and the documentation."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from raystellar.targets import TARGETS

N_PIXELS = 4000
"""Pixels of the common grid. Source: Sec. 3."""

NOISE_BLOCK = 8
"""Grid pixels that share one value of the stored inverse variance."""

N_NOISE = N_PIXELS // NOISE_BLOCK

# Files in an output folder
PART_NAME = "part-{:05d}.parquet"
REJECTS_DIR = "rejects"
MANIFEST_NAME = "_manifest.parquet"
RUN_NAME = "_run.json"

# Files in a model bundle
WEIGHTS_NAME = "weights.safetensors"
BUNDLE_NAME = "bundle.json"

REJECT_STAGES = ("fetch", "read", "class", "labels", "rv", "preprocess", "predict")
"""Where a spectrum may be rejected, in the order in which it passes."""

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Column:
    """One column on disk."""

    name: str
    type: pa.DataType
    unit: str
    description: str

    def field(self) -> pa.Field:
        """Return the Arrow field, with unit and description as its metadata."""
        return pa.field(self.name, self.type, metadata={"unit": self.unit, "description": self.description})


IDENTITY = (
    Column("path", pa.string(), "", "file the spectrum was read from, as given"),
    Column("spec_id", pa.string(), "", "name of the spectrum: plate-mjd-fiberid for SDSS, lamost-obsid for LAMOST"),
    Column("plate", pa.int32(), "", "SDSS plate number, 0 for other surveys"),
    Column("mjd", pa.int32(), "d", "modified Julian date of the observation"),
    Column("fiberid", pa.int32(), "", "fibre number on the plate"),
    Column("run2d", pa.string(), "", "version of the spectroscopic reduction"),
    Column("ra", pa.float64(), "deg", "right ascension of the target"),
    Column("dec", pa.float64(), "deg", "declination of the target"),
    Column("object_class", pa.string(), "", "class given by the SDSS pipeline: STAR, GALAXY or QSO"),
    Column("subclass", pa.string(), "", "subclass given by the SDSS pipeline"),
    Column("zwarning", pa.int32(), "", "warning bits of the SDSS pipeline's redshift"),
    Column("sn", pa.float32(), "", "median signal-to-noise ratio per pixel"),
    Column("rv", pa.float32(), "km/s", "heliocentric radial velocity used to shift to the rest frame"),
    Column("rv_source", pa.string(), "", "where rv came from: table, pipeline or none"),
    Column("good_fraction", pa.float32(), "", "share of the grid covered by pixels with ivar > 0"),
)

LABELS = tuple(Column(t.name, pa.float32(), t.unit, t.description) for t in TARGETS)
LABEL_ERRORS = tuple(
    Column(f"e_{t.name}", pa.float32(), t.unit, f"uncertainty of {t.name} in the label table") for t in TARGETS
)

SPECTRA = (
    Column(
        "flux",
        pa.list_(pa.float32(), N_PIXELS),
        "",
        "rest-frame flux on the grid, standardised to mean 0 and standard deviation 1",
    ),
    Column(
        "ivar",
        pa.list_(pa.float32(), N_NOISE),
        "",
        f"mean inverse variance of the standardised flux in blocks "
        f"of {NOISE_BLOCK} grid pixels; 0 where no pixel is good",
    ),
)

DATASET = (
    *IDENTITY,
    *LABELS,
    *LABEL_ERRORS,
    Column("star_id", pa.int64(), "", "the same for all spectra of one star in the label table"),
    Column("split", pa.string(), "", "train, validation or test"),
    *SPECTRA,
)

QUALITY = (
    Column("flags", pa.int32(), "", "quality bits, see quality.py"),
    Column("flag_warn", pa.bool_(), "", "some bit asks for care"),
    Column("flag_bad", pa.bool_(), "", "some bit forbids use"),
    Column("model_id", pa.string(), "", "identity of the model bundle that made the labels"),
)

CATALOG = (*IDENTITY, *LABELS, *QUALITY)

REJECTS = (
    Column("path", pa.string(), "", "file that was rejected, or one of whose spectra was, as given"),
    Column("spec_id", pa.string(), "", "name of the spectrum, empty where it is not known"),
    Column("stage", pa.string(), "", f"where: {', '.join(REJECT_STAGES)}"),
    Column("reason", pa.string(), "", "why, in words that can be counted"),
    Column("detail", pa.string(), "", "what was found"),
)


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """Return the Arrow schema of ``columns``."""
    return pa.schema([column.field() for column in columns])
