"""A simulated survey: stars like those of the SEGUE survey, observed and written as SDSS-I/II would have done.

    population    stars with parameters, velocities, reddening and S/N drawn like those of the SEGUE survey
    photosphere/  the spectrum of a star at rest, from its parameters
    starlight     the light of a star on the pixels of the spectrograph, without noise
    instrument    the spectrograph: pixels with noise, sky, masks and errors of calibration
    defects       mask bits, cosmic rays and dead columns
    derivatives   derivatives of the spectrum of a star, with respect to its parameters
    information   least errors of the labels of a star that the noise of its spectrum allows
    optics        the two inner loops of the spectrograph, compiled
    others        spectra of galaxies, quasars, white dwarfs, empty fibres and so on, to test the OOD score
    spectro1d     class, redshift and warnings that the SDSS pipeline gives to a fibre
    specobj       rows of the SPECOBJ and SPZLINE tables
    spec_file     spec files, a file for each spectrum
    plate_file    spPlate and spZbest files, a pair for each plate
    labels        labels as the SEGUE Stellar Parameter Pipeline would give them, in the columns of ssppOut
    config        the section simulate of the configuration
    plates        fields, nights and stars of the plates, and an exposure of each fibre
    survey        a whole survey on disk, one plate after another

All randomness is a function of the seed and the number of the star, fibre or plate, so that a survey does not depend
on the workers that write it.
"""
