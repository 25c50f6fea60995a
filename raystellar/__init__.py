"""raystellar: from survey spectra to stellar parameters, distributed on Ray.

Four stages, each a module, a command of the program ``raystellar`` and a script under ``jobs/``:

    mocksurvey   simulate a survey as real SDSS files
    dataset      SDSS files -> preprocessed spectra in Parquet
    train        preprocessed spectra -> model bundle
    label        SDSS files + bundle -> catalogue
"""

__version__ = "0.1.0"
