"""Label tables: the stellar parameters that the network learns from, from surveys and from simulations.

README.md lists the identities, columns and formats that are read.

config       which rows are usable, and the radius of a join by position
table        read a label table, and judge which rows can be learned from and why the others cannot
join         join spectra and rows, by names or by position
truth        the labels of a table for the rows of a catalogue
identity     the names by which surveys know their spectra, and the keys that are made of them
keys         pack plate, mjd and fiberid into one integer, or a hash of a name
columns      names and units of columns
sspp         meaning of the flags of the SSPP
readers      read columns of a table in any format
fits_table   FITS tables, in pieces
arrow_table  text tables and Parquet files, in pieces
whole_table  ECSV and VOTable files, as a whole
cells        pieces of columns, shared by the readers
units        convert columns to the units in which they are kept
stars        group spectra into stars by their positions
splits       draw the training, validation and test splits by star
addresses    write the addresses of the spectra of a label table in the SDSS archive

This folder holds only tables that come in. The tables that ``raystellar label`` writes are catalogues, see ``catalog``.
"""
