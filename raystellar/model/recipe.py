"""The description of an exported model: the steps to its input, and the meaning of its output.

A user of the exported file must be able to do without raystellar. The steps therefore state everything that changes a
number, in the order in which it is done. The description exists as a mapping for programs and as text for people.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from raystellar.model.bundle import Bundle
from raystellar.preprocessing.bad_pixels import SPIKE_RATIO, SPIKE_REACH, SPIKE_SIGMA
from raystellar.preprocessing.pixels import PreprocessConfig
from raystellar.spectra.record import LEAST_VALUE, MIN_PIXELS, MOST_VALUE, SPEED_OF_LIGHT_KM_S
from raystellar.targets import TARGETS

EXPORT_FORMAT = 1
"""Format version of the description; bump it when the meaning of a key changes."""

INPUT, OUTPUT = "flux", "labels"
"""Names of the tensors of the exported graph."""

LICENCE = "BSD 3-Clause, that of raystellar; the data that the model was trained on may have terms of their own"
"""Licence named in the description."""

TEXT_WIDTH = 100
"""Largest length of a line in the description for people."""


def describe(bundle: Bundle) -> dict[str, Any]:
    """Return the description of an exported ``bundle`` as plain JSON."""
    pixels = bundle.network.n_pixels
    return {
        "format": EXPORT_FORMAT,
        "what": "a network that gives stellar labels for a standardised rest-frame spectrum",
        "model_id": bundle.model_id,
        "raystellar": bundle.raystellar_version,
        "created": bundle.created,
        "licence": LICENCE,
        "input": {
            "name": INPUT,
            "type": "float32",
            "shape": ["batch", pixels],
            "what": "flux per unit wavelength of one star a row, made by the steps of preprocess",
        },
        "output": {
            "name": OUTPUT,
            "type": "float32",
            "shape": ["batch", len(TARGETS)],
            "columns": [
                {
                    "name": target.name,
                    "unit": target.unit,
                    "what": target.description,
                    "trained_from": bundle.label_ranges[target.name][0],
                    "trained_to": bundle.label_ranges[target.name][1],
                }
                for target in TARGETS
            ],
        },
        "not_included": "standard errors and quality flags, which raystellar itself gives",
        "preprocess": _preprocess(bundle),
    }


def _preprocess(bundle: Bundle) -> dict[str, Any]:
    config = bundle.preprocess
    start, stop, n = (bundle.grid[key] for key in ("start", "stop", "n"))
    return {
        "grid": {
            "loglam_start": start,
            "loglam_stop": stop,
            "n": n,
            "step": (stop - start) / (n - 1),
            "what": "log10 of the vacuum wavelength [angstrom], uniform, both ends included",
        },
        "passes": config.passes,
        "repair_bad_pixels": config.repair_bad_pixels,
        "min_coverage": config.min_coverage,
        "max_abs_rv_km_s": config.max_abs_rv,
        "speed_of_light_km_s": SPEED_OF_LIGHT_KM_S,
        "shift": "log10(sqrt((1 + b) / (1 - b))) with b = rv / speed_of_light_km_s",
        "spline": "cubic, not-a-knot at both ends, as scipy.interpolate.CubicSpline has it by default",
        "standardise": {"mean": 0.0, "std": 1.0, "ddof": 0},
        "steps": list(_steps(config)),
    }


def _steps(config: PreprocessConfig) -> Iterator[str]:
    """Yield the steps from the pixels in a file of a survey to the input of the network, as texts."""
    yield (
        "Take the pixels of one spectrum as the survey gives them: x, log10 of the vacuum wavelength [angstrom] in the "
        "heliocentric frame, increasing, as float32; y, flux per unit wavelength in any unit, not divided by a "
        "continuum, not corrected for reddening; its inverse variance ivar; and rv, the heliocentric radial velocity "
        f"[km/s], positive for a star that moves away, of at most {config.max_abs_rv:g} km/s. Without a velocity take "
        "rv = 0 and trust no label. Compute with float64 from here."
    )
    yield (
        f"A pixel is good if ivar and the absolute value of y both lie between {LEAST_VALUE:.17g} and "
        f"{MOST_VALUE:.17g}, or if y is 0 and ivar lies there; NaN is not. Refuse a spectrum without good pixels."
    )
    if config.repair_bad_pixels:
        yield (
            "A good pixel that is a spike counts as not good. A pixel with y > 0 is a spike if more than half of the "
            f"good pixels up to {SPIKE_REACH} pixels away, itself included, have a y below both y / {SPIKE_RATIO} and "
            f"y - {SPIKE_SIGMA} / sqrt(ivar). A pixel with y < 0 is a spike if y^2 ivar > {SPIKE_SIGMA**2}."
        )
    replaced = "is not good" if config.repair_bad_pixels else f"is NaN, infinite, or beyond +-{MOST_VALUE:.17g}"
    yield (
        f"Replace y of each pixel that {replaced} by the straight line in pixel number between the nearest other "
        "pixels; before the first and after the last of these take their y."
    )
    yield (
        f"Refuse a spectrum of fewer than {MIN_PIXELS} pixels, and one where less than min_coverage of the points "
        "grid + shift lie between its first and last x, with shift as above, which is positive where rv is."
    )
    if config.passes == "one":
        yield (
            "Lay the spline through (x, y) and take its values at grid + shift; where that is before the first x or "
            "after the last, take the first or the last y."
        )
    else:
        yield (
            "Lay the spline through (x, y) and take its values at the points of grid, still in the observed frame; "
            "where they are before the first x or after the last, take the first or the last y."
        )
        yield (
            "Lay a second spline through these values at the points of grid and take its values at grid + shift; where "
            "that is before the first point of grid or after the last, take the value at that end of grid."
        )
    yield (
        "Subtract the mean of these values and divide by their standard deviation (the root of the mean square, "
        "ddof = 0). As float32 this is one row of the input."
    )


def readable(about: Mapping[str, Any]) -> str:
    """Return the description ``about``, made by ``describe``, as text for people."""
    preprocess, grid = about["preprocess"], about["preprocess"]["grid"]
    lines = [
        f"raystellar model {about['model_id']}: {about['what']}",
        "",
        f"made      {about['created']} by raystellar {about['raystellar']}",
        f"licence   {about['licence']}",
        *(f"{way:<10}{_tensor(about[way])}" for way in ("input", "output")),
    ]
    for column in about["output"]["columns"]:
        span = f"trained from {column['trained_from']:g} to {column['trained_to']:g} {column['unit']}"
        lines.append(f"          {column['name']} [{column['unit']}]  {column['what']}; {span}")
    lines += [f"not here  {about['not_included']}", "", "How to make the input", ""]
    lines.append(f"grid      {grid['n']} points from {grid['loglam_start']} to {grid['loglam_stop']}: {grid['what']}")
    lines.append(f"shift     {preprocess['shift']} = {preprocess['speed_of_light_km_s']}")
    lines.append(f"spline    {preprocess['spline']}")
    lines += [f"coverage  min_coverage = {preprocess['min_coverage']}", ""]
    for number, step in enumerate(preprocess["steps"], start=1):
        lines += textwrap.wrap(step, TEXT_WIDTH, initial_indent=f"{number}. ", subsequent_indent="   ")
    return "\n".join(lines) + "\n"


def _tensor(about: Mapping[str, Any]) -> str:
    shape = ", ".join(map(str, about["shape"]))
    return f"{about['name']} ({shape}) {about['type']}" + (f": {about['what']}" if "what" in about else "")
