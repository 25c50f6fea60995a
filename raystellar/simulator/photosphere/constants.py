"""Physical constants in cgs units, with the unit in every name.

Source: CODATA 2018 and IAU 2015.
"""

from raystellar.spectra.record import SPEED_OF_LIGHT_KM_S

PLANCK_ERG_S = 6.62607015e-27
SPEED_OF_LIGHT_CM_S = SPEED_OF_LIGHT_KM_S * 1e5
BOLTZMANN_ERG_K = 1.380649e-16
BOLTZMANN_EV_K = 8.617333262e-5
ELECTRON_MASS_G = 9.1093837015e-28
ATOMIC_MASS_G = 1.66053906660e-24
STEFAN_BOLTZMANN_CGS = 5.670374419e-5
HC_OVER_K_ANGSTROM_K = 1.438776877e8
"""hc/k [angstrom K]; the exponent of the Planck function is this constant over (lambda T)."""
HYDROGEN_ATOM_G = 1.6735328e-24
RYDBERG_EV = 13.605693
"""Rydberg energy for an infinitely heavy nucleus [eV]."""
HYDROGEN_IONISATION_EV = 13.598434
HYDROGEN_LIMIT_ANGSTROM = 911.76334
"""Inverse of the Rydberg constant of hydrogen with its reduced mass [angstrom in vacuum]."""
FINE_STRUCTURE = 7.2973525693e-3
BOHR_RADIUS_CM = 5.29177211e-9
CLASSICAL_CROSS_SECTION_CM = 8.85282e-13
"""pi e^2 / (m_e c^2) [cm]: cross section of a line of f = 1, integrated over wave number."""
