"""Sweeps: many points into one file of results, by several processes, and resumed where killed.

`definition` reads what to run, `store` keeps what is finished, `local` and `cluster` run points,
`run` joins them.
"""
