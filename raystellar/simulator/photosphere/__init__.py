"""Stellar spectra from a compact model atmosphere in local thermodynamic equilibrium (LTE).

    from raystellar.simulator.photosphere.synthesis import SYNTHESIS_LOGLAM, synthesize
    flux = synthesize(teff=5777, logg=4.44, feh=0.0)  # erg/s/cm2/A at 10**SYNTHESIS_LOGLAM angstrom, vacuum

One chain of physics leads from the three labels to the emergent flux:

    constants    physical constants in cgs, with the unit in every name
    atoms        solar abundances, ionisation energies, low terms for partition functions
    ionisation   Saha equation, electron density by charge conservation (metals feed H-), H2
    opacity      H-, hydrogen with dissolved levels at the series limits, Rayleigh and Thomson scattering
    molecules    equilibrium of CO, N2, CH, CN, MgH and TiO, their bands, and the forest of faint metal lines
    hydrogen     Balmer and Paschen lines: Stark, Doppler and self broadening
    atmosphere   T(tau) with blanketing and mixing-length convection, hydrostatic pressure
    lines        the table of atomic lines (lines.csv) and Voigt profiles
    radiation    emergent flux with exponential integrals, coherent continuous scattering
    lattice      output pixels, the fine lattice of line cores, the coarse lattice
    synthesis    the public functions: synthesize, white_dwarf, microturbulence

Nothing is random and no lattice depends on the parameters, so the spectra change smoothly with the parameters.

These parts are calibrated on real stars instead of derived: ``atmosphere.blanketing`` and ``atmosphere.hopf`` (skin and
warm terms), ``hydrogen.CHROMOSPHERE_K`` (H-alpha cores of cool stars), ``molecules.forest_density`` and the strengths
of the bands, ``lines.UNSOLD_FACTOR``. ``raystellar bench sky`` compares the spectra with real stars.

Known limits: LTE; one dimension; bands without rotational structure; no isotopes and no hyperfine structure; no C2, VO
and H2O; no metal lines below 3650 angstrom, where a smooth opacity stands for them; He I only as a trace element.
"""
