"""The page of a catalogue: statistics of its rows, their figures, and a gallery of spectra.

page          the page
census        statistics of all rows from one pass
figures       figures of the statistics
gallery       the spectra of a few rows, read again from their files
gallery_page  sections of the page that show the spectra
"""
