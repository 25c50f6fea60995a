"""Equation of state: Saha ionisation, electron density by charge conservation, molecular hydrogen.

Symbols: n_e is the density of electrons, n(r) that of an element in stage r of ionisation, U(r) its partition function.
"""

import math

import numpy as np
from numba import njit

from raystellar.simulator.photosphere.atoms import IONISATION_EV, TERM_EV, TERM_WEIGHT
from raystellar.simulator.photosphere.constants import (
    ATOMIC_MASS_G,
    BOLTZMANN_ERG_K,
    BOLTZMANN_EV_K,
    ELECTRON_MASS_G,
    HC_OVER_K_ANGSTROM_K,
    PLANCK_ERG_S,
)

BISECTIONS = 46
"""Halvings of the bracket of ln(n_e). The root is exact to rounding, hence smooth in temperature and pressure."""

SAHA_CM3_K = 2.0 * (2.0 * math.pi * ELECTRON_MASS_G * BOLTZMANN_ERG_K / PLANCK_ERG_S**2) ** 1.5
"""2 (2 pi m k / h^2)^(3/2) [cm-3 K-3/2]."""


@njit(cache=True, nogil=True)
def partition(temperature: float) -> np.ndarray:
    """Return the partition functions U = sum g exp(-E/kT), shape (elements, 3), at a temperature [K]."""
    elements, stages, terms = TERM_WEIGHT.shape
    total = np.zeros((elements, stages))
    beta = 1.0 / (BOLTZMANN_EV_K * temperature)
    for e in range(elements):
        for s in range(stages):
            for t in range(terms):
                if TERM_WEIGHT[e, s, t] == 0.0:
                    break
                total[e, s] += TERM_WEIGHT[e, s, t] * math.exp(-TERM_EV[e, s, t] * beta)
    return total


@njit(cache=True, nogil=True)
def saha_constants(temperature: float, u: np.ndarray) -> np.ndarray:
    """Return n(r+1) n_e / n(r) [cm-3], shape (elements, 2), by Saha's equation for two ionisations.

    Parameters
    ----------
    temperature : [K]
    u : partition functions (elements, 3)
    """
    front = SAHA_CM3_K * temperature**1.5
    out = np.empty((u.shape[0], 2))
    for e in range(u.shape[0]):
        for s in range(2):
            energy = IONISATION_EV[e, s] / (BOLTZMANN_EV_K * temperature)
            out[e, s] = front * u[e, s + 1] / u[e, s] * math.exp(-energy)
    return out


@njit(cache=True, nogil=True)
def molecule_constant(
    temperature: float, reduced_mass_amu: float, q_ab: float, u_a: float, u_b: float, energy_ev: float
) -> float:
    """Return n_AB / (n_A n_B) [cm3] of a molecule AB by the law of mass action.

    Parameters
    ----------
    temperature : [K]
    reduced_mass_amu : m_A m_B / (m_A + m_B) [u]
    q_ab, u_a, u_b : partition functions of the molecule and of its atoms
    energy_ev : dissociation energy [eV]
    """
    wave = PLANCK_ERG_S**2 / (2.0 * math.pi * reduced_mass_amu * ATOMIC_MASS_G * BOLTZMANN_ERG_K * temperature)
    return wave**1.5 * q_ab / (u_a * u_b) * math.exp(energy_ev / (BOLTZMANN_EV_K * temperature))


@njit(cache=True, nogil=True)
def rotor_partition(temperature: float, weight: float, rotation_cm: float, vibration_cm: float) -> float:
    """Return the partition function of a molecule, a rigid rotor and harmonic oscillator.

    Q = g (kT / hcB) / (1 - exp(-hc omega / kT))

    Parameters
    ----------
    temperature : [K]
    weight : statistical weight g of the electronic ground state, halved for two identical nuclei
    rotation_cm, vibration_cm : constants B and omega [cm-1]
    """
    kt_cm = temperature / (HC_OVER_K_ANGSTROM_K * 1e-8)
    return weight * kt_cm / rotation_cm / (1.0 - math.exp(-vibration_cm / kt_cm))


@njit(cache=True, nogil=True)
def _hydrogen_nuclei(free: float, metals: float, h2_constant: float, neutral: float) -> tuple[float, float]:
    """Return (hydrogen nuclei, hydrogen atoms and ions) [cm-3], with H2 in equilibrium.

    Parameters
    ----------
    free : heavy particles [cm-3]
    metals : nuclei of the other elements per hydrogen nucleus
    h2_constant : n_H2 / n_H^2 [cm3]
    neutral : neutral share of the atoms and ions of hydrogen
    """
    a = h2_constant * neutral * neutral * (1.0 + 2.0 * metals)
    b = 1.0 + metals
    atoms = 2.0 * free / (b + math.sqrt(b * b + 4.0 * a * free))
    return atoms + 2.0 * h2_constant * (neutral * atoms) ** 2, atoms


@njit(cache=True, nogil=True)
def _charge(
    ne: float, pressure_density: float, abundance: np.ndarray, saha: np.ndarray, h2_constant: float
) -> tuple[float, float, float]:
    """Return (positive charge minus n_e, hydrogen nuclei, hydrogen atoms and ions) [cm-3] for a density of electrons.

    Parameters
    ----------
    ne : electrons [cm-3]
    pressure_density : all particles, P / kT [cm-3]
    abundance, saha, h2_constant : as in `gas_state`, `saha_constants` and `molecule_constant`
    """
    neutral = 1.0 / (1.0 + saha[0, 0] / ne)
    metals = 0.0
    charge = 0.0
    for e in range(1, abundance.size):
        metals += abundance[e]
        singly = saha[e, 0] / ne
        doubly = singly * saha[e, 1] / ne
        charge += abundance[e] * (singly + 2.0 * doubly) / (1.0 + singly + doubly)
    nuclei, atoms = _hydrogen_nuclei(pressure_density - ne, metals, h2_constant, neutral)
    return nuclei * charge + atoms * (1.0 - neutral) - ne, nuclei, atoms


@njit(cache=True, nogil=True)
def gas_state(
    temperature: float, pressure: float, abundance: np.ndarray
) -> tuple[float, float, float, np.ndarray, np.ndarray]:
    """Return the densities of electrons and hydrogen, by charge conservation.

    Metals give the electrons of cool stars, so H- depends on [Fe/H].

    Parameters
    ----------
    temperature, pressure : [K], [dyn/cm2]
    abundance : atoms per hydrogen atom (elements,)

    Returns
    -------
    electrons, hydrogen nuclei, neutral hydrogen atoms [cm-3], partition functions (elements, 3),
    Saha constants [cm-3] (elements, 2)
    """
    u = partition(temperature)
    saha = saha_constants(temperature, u)
    q_h2 = rotor_partition(temperature, 0.5, 60.85, 4401.0)  # 1/2 for two identical nuclei
    h2_constant = molecule_constant(temperature, 0.504, q_h2, 2.0, 2.0, 4.478)
    density = pressure / (BOLTZMANN_ERG_K * temperature)
    low, high = math.log(density) - 32.0, math.log(density) - 1e-9
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if _charge(math.exp(middle), density, abundance, saha, h2_constant)[0] > 0.0:
            low = middle
        else:
            high = middle
    ne = math.exp(0.5 * (low + high))
    _, nuclei, atoms = _charge(ne, density, abundance, saha, h2_constant)
    return ne, nuclei, atoms / (1.0 + saha[0, 0] / ne), u, saha


@njit(cache=True, nogil=True)
def stage_fractions(saha: np.ndarray, ne: float) -> np.ndarray:
    """Return the fractions of each element that are neutral, singly and doubly ionised, shape (elements, 3).

    Parameters
    ----------
    saha : constants [cm-3] (elements, 2)
    ne : electrons [cm-3]
    """
    out = np.empty((saha.shape[0], 3))
    for e in range(saha.shape[0]):
        singly = saha[e, 0] / ne
        doubly = singly * saha[e, 1] / ne
        total = 1.0 + singly + doubly
        out[e, 0] = 1.0 / total
        out[e, 1] = singly / total
        out[e, 2] = doubly / total
    return out
