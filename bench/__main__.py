"""`python -m bench`."""

from bench.cli import cli

cli(prog_name="python -m bench")
