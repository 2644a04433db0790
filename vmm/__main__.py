"""`python -m vmm`."""

from vmm.cli import cli

if __name__ == "__main__":
    cli(prog_name="python -m vmm")
