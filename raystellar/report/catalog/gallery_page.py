"""Sections of the gallery: the spectra of the rows with extreme values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from raystellar.quality import Flag
from raystellar.report.catalog.gallery import SpectrumOfRow
from raystellar.report.page import Section, bold, code, decimal, in_units, joined, paragraph, picture, section
from raystellar.report.spectral_figures import draw_spectrum
from raystellar.report.svg import inline_svg
from raystellar.targets import TARGETS

PARTS = {
    "best": ("Highest S/N", "Rows without a flag that have the highest S/N."),
    "worst": (
        "Largest errors",
        "Rows that are not bad and have the largest errors, by the geometric mean of the three errors.",
    ),
    "ood": ("Highest OOD scores", "Rows that are neither sky, galaxy nor quasar and have the highest OOD scores."),
}
"""Title of each part of the gallery, and how its rows were chosen; see ``Census.picks``."""


def gallery_sections(
    gallery: Mapping[str, Sequence[tuple[SpectrumOfRow, np.ndarray | None]]], loglam: np.ndarray, model_note: str
) -> list[Section]:
    """Return the sections of the gallery that have rows; the first section explains the figures.

    Parameters
    ----------
    gallery : for each name in ``PARTS``, the spectra of its rows and the response (3, P) of their labels to a weak line
    loglam : (P,) log10 of the wavelengths
    model_note : reason why responses are missing; empty where they are known
    """
    sections: list[Section] = []
    for part, (title, caption) in PARTS.items():
        if spectra := gallery.get(part, ()):
            figures = [_spectrum(f"{part}-{number}", *row, loglam) for number, row in enumerate(spectra)]
            words = caption if sections else f"{caption} {_explanation(model_note)}"
            sections.append(section(part, title, paragraph(words), *figures))
    return sections


def _explanation(model_note: str) -> str:
    """Return the explanation of the figures; see ``gallery_sections``."""
    if model_note:
        return (
            "Each figure shows the flux in the rest frame. The response of the labels to weak lines cannot be shown: "
            f"{model_note}."
        )
    return (
        "Each figure shows the flux in the rest frame, and below it how strongly each label responds to a weak "
        "absorption line at that wavelength, relative to its strongest response. Good labels rest on named lines."
    )


def _spectrum(name: str, spectrum: SpectrumOfRow, response: np.ndarray | None, loglam: np.ndarray) -> Markup:
    """Return the figure of one spectrum with its labels."""
    row = spectrum.pick.row
    if spectrum.flux is None:
        return picture(paragraph(f"The spectrum cannot be shown: {spectrum.why}.", muted=True), _caption(row))
    draw = partial(draw_spectrum, loglam=loglam, flux=spectrum.flux, response=response)
    svg = inline_svg(draw, (10.6, 2.2 if response is None else 3.2), name, f"Spectrum {row['spec_id']}")
    return picture(svg, _caption(row))


def _caption(row: Mapping[str, Any]) -> Markup:
    """Return name, labels, quality and path of a row."""
    labels = [
        Markup("{} <b>{}</b> ± {}").format(
            target.symbol, in_units(row[target.name], target), in_units(row.get(f"e_{target.name}"), target)
        )
        for target in TARGETS
    ]
    names = [flag.name or "" for flag in Flag if row["flags"] & flag.value]
    about = [f"S/N {decimal(row['sn'], 1)}", f"rv {decimal(row['rv'], 0)} km/s"]
    about += [f"OOD score {decimal(row['ood_score'], 3)}"] if row.get("ood_score") is not None else []
    about += [" ".join(filter(None, (row["object_class"], row["subclass"]))) or "no class"]
    about += [f"flags {' '.join(names)}" if names else "no flag"]
    lines = [joined([bold(row["spec_id"]), *labels], " · "), joined(about, " · "), code(row["path"])]
    return joined(lines, Markup("<br>"))
