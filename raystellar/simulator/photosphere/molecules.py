"""Bands of CH, CN, MgH and TiO and the forest of faint metal lines, as smooth opacities.

Molecules form from free atoms by the law of mass action, with the partition functions of rigid rotors. CO binds carbon
or oxygen, whichever is rarer. A band spreads its oscillator strength over a profile with a head and an exponential
tail. At R ~ 2000 this is right for the sum of the many lines of a band, without their individual shapes.
"""

import math

import numpy as np
from numba import njit

from raystellar.simulator.photosphere.atoms import INDEX
from raystellar.simulator.photosphere.constants import BOLTZMANN_EV_K, CLASSICAL_CROSS_SECTION_CM
from raystellar.simulator.photosphere.ionisation import molecule_constant, rotor_partition

CARBON, NITROGEN, OXYGEN = INDEX["C"], INDEX["N"], INDEX["O"]
MAGNESIUM, TITANIUM, IRON = INDEX["Mg"], INDEX["Ti"], INDEX["Fe"]
CH, CN, MGH, TIO, IRON_FOREST, ION_FOREST = range(6)
"""Indices of the absorbers: four molecules, and the faint lines of neutral and of ionised metals."""

MOLECULAR_BANDS = np.array(
    [
        # molecule, head [A], tail to the blue [A], tail to the red [A], oscillator strength
        (CH, 4312.0, 32.0, 14.0, 0.0025),
        (CH, 3889.0, 12.0, 8.0, 0.0012),
        (CN, 3883.5, 22.0, 1.0, 0.008),
        (CN, 4216.0, 22.0, 1.0, 0.0007),
        (CN, 7900.0, 40.0, 120.0, 0.0006),
        (CN, 9170.0, 40.0, 140.0, 0.0010),
        (MGH, 5211.5, 45.0, 2.0, 0.030),
        (TIO, 4955.0, 2.0, 60.0, 0.0036),
        (TIO, 5167.0, 2.0, 70.0, 0.0048),
        (TIO, 5449.0, 2.0, 80.0, 0.0036),
        (TIO, 5847.0, 2.0, 60.0, 0.0012),
        (TIO, 6159.0, 2.0, 90.0, 0.0030),
        (TIO, 6652.0, 2.0, 90.0, 0.0030),
        (TIO, 7055.0, 2.0, 110.0, 0.0054),
        (TIO, 7589.0, 2.0, 90.0, 0.0018),
        (TIO, 8432.0, 2.0, 80.0, 0.0012),
        (TIO, 8860.0, 2.0, 90.0, 0.0018),
    ]
)
"""Bands of molecules."""

FOREST_EV = (3.0, 3.2)
"""Mean excitation of the faint lines of neutral and of ionised metals, as if all were iron [eV]."""


def band_table(wavelength: np.ndarray) -> np.ndarray:
    """Return the cross section (wavelengths, 6) [cm2] of each of the `absorbers` at wavelengths [A]."""
    out = np.zeros((wavelength.size, 6))
    for molecule, head, blue, red, f in MOLECULAR_BANDS:
        offset = wavelength - head
        shape = np.exp(np.where(offset < 0.0, offset / blue, -offset / red)) / (blue + red)
        out[:, int(molecule)] += CLASSICAL_CROSS_SECTION_CM * 1e-8 * f * wavelength**2 * shape
    front = CLASSICAL_CROSS_SECTION_CM * 1e-8 * wavelength**2
    out[:, IRON_FOREST] = front * forest_density(wavelength)
    out[:, ION_FOREST] = front * 0.05 * forest_density(wavelength)
    return out


def forest_density(wavelength: np.ndarray) -> np.ndarray:
    """Return the sum of gf per angstrom of faint iron-like lines at wavelengths [A]: steep in the blue, then flat."""
    below_the_list = 1.0 / (1.0 + np.exp(np.minimum((wavelength - 3650.0) / 3.0, 50.0)))
    # the table of lines is nearly complete in its bluest 300 angstrom and lacks more lines to the red
    missing = 0.25 + 0.75 / (1.0 + np.exp(np.minimum((4020.0 - wavelength) / 12.0, 50.0)))
    steep = 0.0013 * np.exp(-(wavelength - 4000.0) / 450.0)
    return steep * missing + 0.0001 + 0.02 * below_the_list


@njit(cache=True, nogil=True)
def _bound_pair(a: float, b: float, constant: float) -> float:
    """Return the density [cm-3] of a molecule AB formed from ``a`` and ``b`` nuclei [cm-3].

    The density is the smaller root of x = constant (a - x) (b - x), in a form without cancellation.
    """
    s = a + b + 1.0 / constant
    return 2.0 * a * b / (s + math.sqrt(s * s - 4.0 * a * b))


@njit(cache=True, nogil=True)
def absorbers(
    temperature: float, nuclei: float, neutral: float, abundance: np.ndarray, u: np.ndarray, fractions: np.ndarray
) -> np.ndarray:
    """Return densities [cm-3] of CH, CN, MgH, TiO, and of neutral and ionised iron in its excited levels, (6,).

    Parameters
    ----------
    temperature : [K]
    nuclei, neutral : hydrogen nuclei and neutral hydrogen atoms [cm-3]
    abundance : atoms per hydrogen atom (elements,)
    u, fractions : partition functions and fractions of the stages of ionisation (elements, 3)
    """
    out = np.empty(6)
    t = temperature
    carbon = nuclei * abundance[CARBON] * fractions[CARBON, 0]
    oxygen = nuclei * abundance[OXYGEN] * fractions[OXYGEN, 0]
    q_co = rotor_partition(t, 1.0, 1.931, 2170.0)
    k_co = molecule_constant(t, 6.857, q_co, u[CARBON, 0], u[OXYGEN, 0], 11.09)
    co = _bound_pair(carbon, oxygen, k_co)
    carbon -= co
    oxygen -= co
    q_ch = rotor_partition(t, 4.0, 14.46, 2858.0)
    q_cn = rotor_partition(t, 2.0, 1.90, 2069.0)
    q_mgh = rotor_partition(t, 2.0, 5.83, 1495.0)
    q_tio = rotor_partition(t, 6.0, 0.535, 1009.0)
    u_c, u_h = u[CARBON, 0], 2.0
    nitrogen = nuclei * abundance[NITROGEN] * fractions[NITROGEN, 0]
    # N2 binds nitrogen in cool giants; the partition function of two identical nuclei counts half
    k_n2 = molecule_constant(t, 7.0, rotor_partition(t, 0.5, 1.998, 2358.6), u[NITROGEN, 0], u[NITROGEN, 0], 9.76)
    nitrogen = 2.0 * nitrogen / (1.0 + math.sqrt(1.0 + 8.0 * k_n2 * nitrogen))
    magnesium = nuclei * abundance[MAGNESIUM] * fractions[MAGNESIUM, 0]
    titanium = nuclei * abundance[TITANIUM] * fractions[TITANIUM, 0]
    ch = carbon * neutral * molecule_constant(t, 0.930, q_ch, u_c, u_h, 3.465)
    cn = carbon * nitrogen * molecule_constant(t, 6.462, q_cn, u_c, u[NITROGEN, 0], 7.72)
    mgh = magnesium * neutral * molecule_constant(t, 0.967, q_mgh, u[MAGNESIUM, 0], u_h, 1.27)
    k_tio = molecule_constant(t, 11.99, q_tio, u[TITANIUM, 0], u[OXYGEN, 0], 6.87)
    tio = _bound_pair(titanium, oxygen, k_tio)
    iron = nuclei * abundance[IRON]
    beta = 1.0 / (BOLTZMANN_EV_K * t)
    # the f of a band refers to all molecules in the lower electronic state
    out[CH], out[CN], out[MGH], out[TIO] = ch, cn, mgh, tio
    out[IRON_FOREST] = iron * fractions[IRON, 0] / u[IRON, 0] * math.exp(-FOREST_EV[0] * beta)
    out[ION_FOREST] = iron * fractions[IRON, 1] / u[IRON, 1] * math.exp(-FOREST_EV[1] * beta)
    return out
