"""The laboratory: what idle guests cost under each way of handling MWAIT, and how fast the core is.

`python -m bench lab` compares idle policies, `python -m bench core` measures the interpreter beside
a peer. Both can be called from Python: `bench.lab.run`, `bench.core.run`.
"""
