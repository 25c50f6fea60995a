"""Label tables: the stellar parameters that the network learns from, from surveys and from simulations.

table      read a label table, and judge which rows can be learned from and why the others cannot
sspp       names of columns and meaning of flags of the SSPP
readers    read columns of FITS, CSV and Parquet tables with bounded memory
keys       pack plate, mjd and fiberid into one integer
stars      group spectra into stars by their positions
splits     draw the training, validation and test splits by star
addresses  write the addresses of the spectra of a label table in the SDSS archive

This folder holds only tables that come in. The tables that ``raystellar label`` writes are catalogues, see ``catalog``.
"""
