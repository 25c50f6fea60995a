"""The page of an evaluation: catalogues and models compared with reference labels.

page     the page
figures  predicted against reference labels, and residuals by S/N and by label
"""
