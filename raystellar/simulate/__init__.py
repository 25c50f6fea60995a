"""Realistic stellar spectra from a compact model atmosphere in local thermodynamic equilibrium.

    from raystellar.simulate.synthesis import LOGLAM, synthesize
    flux = synthesize(teff=5777, logg=4.44, feh=0.0)      # erg/s/cm2/A on 10**LOGLAM, vacuum

A spectrum is computed, not drawn: one chain of physics from three labels to the emergent flux.

    constants    cgs, the unit in every name
    atoms        solar abundances, ionisation energies, low terms for partition functions
    ionisation   Saha equation, electrons by charge conservation (metals feed H-), H2
    opacity      H-, hydrogen with dissolved levels at the series limits, Rayleigh, Thomson
    molecules    CO, CH, CN, MgH, TiO equilibrium and bands; the forest of faint metal lines
    hydrogen     Balmer and Paschen lines: Stark, Doppler and self broadening
    atmosphere   T(tau) with blanketing and mixing-length convection, hydrostatic pressure
    lines        the embedded table of atomic lines (lines.csv) and Voigt profiles
    radiation    emergent flux with exponential integrals, coherent continuous scattering
    lattice      output pixels, the fine lattice of line cores, the coarse lattice
    synthesis    the public face: LOGLAM, microturbulence, synthesize

Nothing is random and no lattice depends on the parameters, so that spectra change smoothly with
them. What is calibrated on real stars and not derived, by name: `atmosphere.blanketing` and
`atmosphere.hopf` (skin and warm terms), `hydrogen.CHROMOSPHERE_K` (H-alpha cores of cool stars),
`molecules.forest_density` and the band strengths, `lines.UNSOLD_FACTOR`.

Known limits: LTE; one-dimensional; band models have no rotational structure; no isotopes,
hyperfine structure, C2, VO or H2O; no metal lines below 3650 angstrom (a smooth opacity stands for
them); He I only as a trace. `raystellar.bench.sky` compares with real stars.
"""
