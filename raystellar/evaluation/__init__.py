"""The agreement of predicted labels with reference labels: which stars are compared, and the numbers that result.

predictions  predictions of a catalogue or of a model beside the reference labels of the same stars
metrics      statistics of predicted minus reference labels in groups of stars
result       the result for several catalogues and models that are compared on the same stars

``stages.evaluate`` joins the parts, and ``report.evaluation`` draws the page.
"""
