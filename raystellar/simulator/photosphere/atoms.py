"""Elements: solar abundances, ionisation energies, and the low terms from which partition functions are summed.

A partition function is the sum of g exp(-E/kT) over the listed terms. Below 11,000 K the terms above about 4 eV add a
few per cent at most. Terms whose fine structure is small against kT are merged to one pair (g, E).

Source of the abundances: Asplund, Grevesse, Sauval & Scott 2009, ARA&A 47, 481 (photosphere; log eps with H = 12).
Source of the ionisation energies and terms: NIST Atomic Spectra Database.
"""

import numpy as np

from raystellar.simulator.photosphere.constants import HYDROGEN_IONISATION_EV

ELEMENTS = {
    # symbol: (Z, log eps, atomic mass [u], first and second ionisation energy [eV]; 999 for none)
    "H": (1, 12.00, 1.008, HYDROGEN_IONISATION_EV, 999.0),
    "He": (2, 10.93, 4.003, 24.587, 54.418),
    "C": (6, 8.43, 12.011, 11.260, 24.383),
    "N": (7, 7.83, 14.007, 14.534, 29.601),
    "O": (8, 8.69, 15.999, 13.618, 35.121),
    "Ne": (10, 7.93, 20.180, 21.565, 40.963),
    "Na": (11, 6.24, 22.990, 5.139, 47.286),
    "Mg": (12, 7.60, 24.305, 7.646, 15.035),
    "Al": (13, 6.45, 26.982, 5.986, 18.829),
    "Si": (14, 7.51, 28.086, 8.152, 16.346),
    "S": (16, 7.12, 32.06, 10.360, 23.338),
    "K": (19, 5.03, 39.098, 4.341, 31.625),
    "Ca": (20, 6.34, 40.078, 6.113, 11.872),
    "Sc": (21, 3.15, 44.956, 6.561, 12.800),
    "Ti": (22, 4.95, 47.867, 6.828, 13.576),
    "V": (23, 3.93, 50.942, 6.746, 14.634),
    "Cr": (24, 5.64, 51.996, 6.767, 16.486),
    "Mn": (25, 5.43, 54.938, 7.434, 15.640),
    "Fe": (26, 7.50, 55.845, 7.902, 16.199),
    "Co": (27, 4.99, 58.933, 7.881, 17.084),
    "Ni": (28, 6.22, 58.693, 7.640, 18.169),
    "Sr": (38, 2.87, 87.62, 5.695, 11.030),
    "Y": (39, 2.21, 88.906, 6.217, 12.224),
    "Zr": (40, 2.58, 91.224, 6.634, 13.13),
    "Ba": (56, 2.18, 137.327, 5.212, 10.004),
}
"""Atomic number, abundance, mass and ionisation energies of each element, by its symbol."""

ALPHA_ELEMENTS = ("O", "Ne", "Mg", "Si", "S", "Ca", "Ti")
"""Elements that follow [alpha/Fe]."""

SYMBOLS = tuple(ELEMENTS)
"""Symbols of the elements, in the order of all arrays."""

INDEX = {symbol: i for i, symbol in enumerate(SYMBOLS)}
"""Index of an element by its symbol."""

INDEX_OF_Z = {row[0]: i for i, row in enumerate(ELEMENTS.values())}
"""Index of an element by its atomic number."""

LOG_EPS = np.array([row[1] for row in ELEMENTS.values()])
"""Solar abundances (elements,), log10 of the number of atoms with 12 for hydrogen."""

MASS_AMU = np.array([row[2] for row in ELEMENTS.values()])
"""Atomic masses (elements,) [u]."""

IONISATION_EV = np.array([row[3:5] for row in ELEMENTS.values()])
"""Ionisation energies (elements, 2) [eV] of the neutral and of the singly ionised atom."""

Terms = list[tuple[int, float]]
"""Statistical weight g and energy E [eV] of each low term of one stage of ionisation."""

# fmt: off
TERMS: dict[str, tuple[Terms, Terms, Terms]] = {
    "H": ([(2, 0)], [(1, 0)], [(1, 0)]),
    "He": ([(1, 0)], [(2, 0)], [(1, 0)]),
    "C": ([(9, 0.004), (5, 1.264), (1, 2.684), (5, 4.183)], [(6, 0.005), (12, 5.33)], [(1, 0)]),
    "N": ([(4, 0), (10, 2.384), (6, 3.576)], [(9, 0.01), (5, 1.899), (1, 4.05)], [(6, 0.01)]),
    "O": ([(5, 0), (3, 0.020), (1, 0.028), (5, 1.967), (1, 4.190)],
          [(4, 0), (10, 3.325), (6, 5.017)], [(9, 0.02), (5, 2.51)]),
    "Ne": ([(1, 0)], [(6, 0.03)], [(9, 0.04)]),
    "Na": ([(2, 0), (6, 2.104), (2, 3.191), (10, 3.617), (6, 3.753)], [(1, 0)], [(6, 0.05)]),
    "Mg": ([(1, 0), (9, 2.714), (3, 4.346), (3, 5.108), (1, 5.394), (5, 5.753)],
           [(2, 0), (6, 4.430), (2, 8.655), (10, 8.864)], [(1, 0)]),
    "Al": ([(2, 0), (4, 0.014), (2, 3.143), (12, 3.60), (10, 4.02), (6, 4.09)],
           [(1, 0), (9, 4.64)], [(2, 0)]),
    "Si": ([(1, 0), (3, 0.010), (5, 0.028), (5, 0.781), (1, 1.909), (5, 4.132), (9, 4.94)],
           [(2, 0), (4, 0.036), (12, 5.33), (10, 6.86)], [(1, 0)]),
    "S": ([(5, 0), (3, 0.049), (1, 0.071), (5, 1.145), (1, 2.750)],
          [(4, 0), (10, 1.843), (6, 3.043)], [(9, 0.07), (5, 1.40)]),
    "K": ([(2, 0), (6, 1.615), (2, 2.607), (10, 2.670), (6, 3.064)], [(1, 0)], [(6, 0.1)]),
    "Ca": ([(1, 0), (9, 1.892), (15, 2.524), (5, 2.709), (3, 2.933), (3, 3.910), (21, 4.44),
            (15, 4.53), (5, 4.13)],
           [(2, 0), (10, 1.697), (6, 3.142)], [(1, 0)]),
    "Sc": ([(4, 0), (6, 0.021), (28, 1.44), (14, 1.85), (28, 1.97), (20, 2.0), (10, 2.1)],
           [(15, 0.014), (5, 0.315), (21, 0.606), (5, 1.357), (9, 1.50), (9, 1.768)], [(10, 0.02)]),
    "Ti": ([(5, 0), (7, 0.021), (9, 0.048), (35, 0.83), (5, 0.900), (9, 1.05), (21, 1.44),
            (9, 1.503), (15, 1.74), (27, 1.88), (45, 2.02), (35, 2.12), (33, 2.24), (25, 2.32),
            (21, 2.42), (15, 2.49)],
           [(4, 0), (6, 0.012), (8, 0.028), (10, 0.049), (28, 0.131), (14, 0.59), (10, 1.08),
            (18, 1.12), (12, 1.17), (6, 1.23), (12, 1.24), (10, 1.57), (22, 1.58), (18, 1.89),
            (6, 2.06), (14, 2.59)],
           [(21, 0.03), (5, 1.05), (9, 1.3)]),
    "V": ([(4, 0), (6, 0.017), (8, 0.040), (10, 0.069), (30, 0.28), (20, 1.05), (12, 1.19),
           (18, 1.37), (6, 1.7), (42, 2.1), (36, 2.3), (28, 2.1)],
          [(25, 0.026), (35, 0.36), (21, 1.10), (9, 1.42), (33, 1.57), (27, 1.80), (25, 1.69)],
          [(28, 0.05), (12, 1.4), (18, 1.5)]),
    "Cr": ([(7, 0), (5, 0.941), (25, 1.0), (45, 2.544), (15, 2.71), (21, 2.9), (33, 2.97)],
           [(6, 0), (30, 1.51), (20, 2.45), (12, 2.7), (36, 2.54)], [(25, 0.05), (9, 2.1), (33, 2.1)]),
    "Mn": ([(6, 0), (30, 2.14), (24, 2.30), (20, 2.9), (18, 3.07)],
           [(7, 0), (5, 1.174), (25, 1.80), (45, 3.42), (15, 3.7)], [(6, 0), (36, 3.3)]),
    "Fe": ([(9, 0), (7, 0.052), (5, 0.087), (3, 0.110), (1, 0.121), (11, 0.859), (9, 0.915),
            (7, 0.958), (5, 0.990), (3, 1.011), (9, 1.485), (7, 1.557), (5, 1.608), (15, 2.195),
            (9, 2.36), (33, 2.42), (35, 2.43), (21, 2.59), (27, 2.72), (49, 2.85), (9, 2.86),
            (21, 2.99), (25, 3.24), (35, 3.37), (33, 3.3), (15, 3.6)],
           [(10, 0), (8, 0.048), (6, 0.083), (4, 0.107), (2, 0.121), (10, 0.232), (8, 0.301),
            (6, 0.352), (4, 0.387), (20, 1.03), (12, 1.69), (18, 1.98), (6, 2.3), (22, 2.53),
            (10, 2.55), (12, 2.65), (44, 2.64), (28, 2.82), (6, 2.891), (36, 3.18), (18, 3.3)],
           [(25, 0.06), (9, 2.5), (33, 2.5), (21, 2.7)]),
    "Co": ([(10, 0), (8, 0.101), (6, 0.174), (4, 0.224), (10, 0.432), (8, 0.514), (6, 0.582),
            (4, 0.629), (14, 0.96), (12, 1.75), (18, 2.1), (10, 2.0)],
           [(21, 0.08), (35, 0.50), (21, 1.26), (15, 2.2)], [(28, 0.1), (12, 1.9)]),
    "Ni": ([(9, 0), (7, 0.025), (5, 0.109), (7, 0.165), (3, 0.212), (5, 0.275), (5, 0.423),
            (5, 1.676), (9, 1.95), (25, 3.4)],
           [(6, 0), (4, 0.187), (28, 1.13), (14, 1.72), (12, 2.9)], [(21, 0.1), (5, 1.74)]),
    "Sr": ([(1, 0), (9, 1.82), (15, 2.26), (5, 2.50), (3, 2.69)],
           [(2, 0), (10, 1.82), (6, 2.99)], [(1, 0)]),
    "Y": ([(4, 0), (6, 0.066), (6, 1.3), (28, 1.4), (20, 1.9), (14, 1.9)],
          [(1, 0), (15, 0.14), (5, 0.409), (21, 1.04), (9, 1.74), (5, 1.84), (9, 1.96)], [(10, 0.05)]),
    "Zr": ([(21, 0.10), (9, 0.54), (5, 0.63), (35, 0.68), (9, 1.0), (27, 1.4), (15, 1.4)],
           [(28, 0.08), (28, 0.45), (20, 0.95), (12, 1.0), (14, 0.8), (10, 0.5)], [(21, 0.1)]),
    "Ba": ([(1, 0), (15, 1.16), (5, 1.413), (9, 1.60), (3, 2.24)],
           [(2, 0), (10, 0.67), (6, 2.64)], [(1, 0)]),
}
"""Low terms of each element: neutral, singly ionised, doubly ionised."""
# fmt: on


def _term_arrays() -> tuple[np.ndarray, np.ndarray]:
    """Return g and E [eV] of all terms, padded with zeros to the shape (elements, 3 stages, terms)."""
    longest = max(len(stage) for stages in TERMS.values() for stage in stages)
    weight = np.zeros((len(SYMBOLS), 3, longest))
    energy_ev = np.zeros_like(weight)
    for symbol, stages in TERMS.items():
        for stage, terms in enumerate(stages):
            for i, (g, energy) in enumerate(terms):
                weight[INDEX[symbol], stage, i] = g
                energy_ev[INDEX[symbol], stage, i] = energy
    return weight, energy_ev


TERM_WEIGHT, TERM_EV = _term_arrays()


def abundances(feh: float, alpha: float = 0.0) -> np.ndarray:
    """Return the number of atoms per hydrogen atom (elements,) for [Fe/H] and [alpha/Fe] in dex.

    Metals scale with ``feh``, the ``ALPHA_ELEMENTS`` with ``feh + alpha``. Helium keeps its solar abundance.
    """
    log_eps = LOG_EPS + feh
    log_eps[[INDEX[s] for s in ALPHA_ELEMENTS]] += alpha
    log_eps[[INDEX["H"], INDEX["He"]]] = LOG_EPS[[INDEX["H"], INDEX["He"]]]
    return 10.0 ** (log_eps - 12.0)
