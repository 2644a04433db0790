"""The laboratory: scenarios run under every policy, in wall time or in virtual time.

A `Scenario` is data. A `Point` is one run of it; an engine turns a point into `Measures`; a sweep
runs many points into one file of results, and a report shows that file.
"""
