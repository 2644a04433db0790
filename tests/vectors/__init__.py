"""Instruction tests captured from silicon, in the MOO format, run on the core.

`python -m tests.vectors PATH` runs a folder or a .tar.xz of them.
"""
