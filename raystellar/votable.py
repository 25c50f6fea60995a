"""What the columns of a Parquet file are, as a VOTable in its footer, so that TOPCAT, astropy and archives know.

The convention is VOParquet 1.0: two file-level keys, of which one holds a VOTable without data whose fields are the
columns, in their order. Source: https://www.ivoa.net/documents/Notes/VOParquet/20250116/
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from xml.etree import ElementTree

import pyarrow as pa

from raystellar.schema import Column, arrow_schema

VERSION_KEY, CONTENT_KEY = "IVOA.VOTable-Parquet.version", "IVOA.VOTable-Parquet.content"

VOPARQUET_VERSION = "1.0"

NAMESPACE = "http://www.ivoa.net/xml/VOTable/v1.3"
"""Of all VOTables since 1.3."""

DATATYPES: Mapping[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int16(): "short",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "unicodeChar",
}
"""What VOTable calls the types of the columns; text is not only ASCII."""

VOUNITS = {"dex": "'dex'"}
"""Units whose name in VOUnit syntax is another: it knows no dex, and has quotes around what it does not know."""

TEXT_SIZES: Mapping[str, int] = {"path": 512, "detail": 512}
"""Characters of the longest text of a column. Without a size astropy refuses the file; beyond it, TOPCAT may cut."""

TEXT_SIZE = 64
"""Of any other column."""


@lru_cache
def described_schema(columns: tuple[Column, ...], name: str) -> pa.Schema:
    """Return the Arrow schema of ``columns`` with the metadata of VOParquet.

    Parameters
    ----------
    name : what the rows are, in one word
    """
    schema = arrow_schema(columns)
    return schema.with_metadata({VERSION_KEY: VOPARQUET_VERSION, CONTENT_KEY: votable(schema, name)})


def votable(schema: pa.Schema, name: str, sizes: Mapping[str, int] = TEXT_SIZES) -> str:
    """Return a VOTable without data whose fields are those of ``schema``, with texts of so many characters."""
    root = ElementTree.Element("VOTABLE", version="1.4", xmlns=NAMESPACE)
    table = ElementTree.SubElement(ElementTree.SubElement(root, "RESOURCE", type="results"), "TABLE", name=name)
    for field in schema:
        about = about_field(field)
        said = {"unit": VOUNITS.get(about["unit"], about["unit"]), "ucd": about["ucd"]}
        given = {key: value for key, value in said.items() if value}
        element = ElementTree.SubElement(table, "FIELD", {"name": field.name, **_type(field, sizes), **given})
        ElementTree.SubElement(element, "DESCRIPTION").text = about["description"]
    text = ElementTree.tostring(root, encoding="unicode")
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}"


def about_field(field: pa.Field) -> dict[str, str]:
    """Return ``unit``, ``description`` and ``ucd`` of a column on disk, empty where the file does not say."""
    metadata = field.metadata or {}
    return {key: metadata.get(key.encode(), b"").decode() for key in ("unit", "description", "ucd")}


def _type(field: pa.Field, sizes: Mapping[str, int]) -> dict[str, str]:
    kind = field.type
    if pa.types.is_fixed_size_list(kind):
        return {"datatype": DATATYPES[kind.value_type], "arraysize": str(kind.list_size)}
    size = {"arraysize": str(sizes.get(field.name, TEXT_SIZE))} if pa.types.is_string(kind) else {}
    return {"datatype": DATATYPES[kind], **size}
