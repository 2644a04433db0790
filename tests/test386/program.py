"""Assemble test386.asm from a checkout, run it by `python -m vmm run`, compare what it says."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: The EQUs of its configuration.asm that are set; all others stay as they come.
CONFIGURATION = {
    "POST_PORT": "0x190",
    "LPT_PORT": "0",
    "COM_PORT": "0",
    "OUT_PORT": "0xE9",
    "TEST_UNDEF": "0",
    "BOCHS": "0",
    "DEBUG": "0",
    "ROM128": "1",
}

#: The last code, and that of the arithmetic whose results it prints.
DONE, ARITHMETIC = 0xFF, 0xEE

_REFERENCE = "test386-EE-reference.txt"

#: Seconds. It takes 10 on an idle host.
_TIMEOUT = 600


class CheckoutError(Exception):
    """The checkout is none of test386.asm, or does not assemble; the text says why."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it: exit status, diagnostic codes, the VMM's own words, and what was printed."""

    status: int
    codes: tuple[int, ...]
    summary: str
    printed: bytes
    reference: bytes

    @property
    def lines(self) -> int:
        """How many lines it printed."""
        return self.printed.count(b"\n")

    def failures(self) -> Iterator[str]:
        """Whatever is not as it has to be, a line for each."""
        if self.status or not self.codes or self.codes[-1] != DONE:
            last = f"{self.codes[-1]:02X}" if self.codes else "none"
            yield f"it ended with status {self.status}, its last POST code {last}: {self.summary}"
        if len(set(self.codes)) < len(self.codes):
            yield "it began anew: some POST code came twice"
        if ARITHMETIC not in self.codes:
            yield f"POST {ARITHMETIC:02X}, whose lines are compared, never came"
        if self.printed != self.reference:
            yield self._difference()

    def _difference(self) -> str:
        lines = itertools.zip_longest(self.printed.split(b"\n"), self.reference.split(b"\n"))
        number, ours, theirs = next((n, a, b) for n, (a, b) in enumerate(lines, 1) if a != b)
        return f"line {number} of {_REFERENCE} is {_shown(theirs)}, and printed was {_shown(ours)}"


def assemble(checkout: Path, folder: Path) -> Path:
    """The ROM, in `folder`, with `CONFIGURATION`. Raises CheckoutError."""
    source = checkout / "src"
    try:
        text = (source / "configuration.asm").read_text()
    except OSError as error:
        raise CheckoutError(f"{checkout} is no checkout of test386.asm: {error}") from None
    for name, value in CONFIGURATION.items():
        text, found = re.subn(rf"(?m)^{name} equ .*$", f"{name} equ {value}", text)
        if found != 1:
            raise CheckoutError(f"{source}/configuration.asm sets {name} {found} times, not once")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "configuration.asm").write_text(text)
    # nasm looks in its working directory first: what stands there is in place of the checkout's.
    source, rom = source.resolve(), folder.resolve() / "test386.rom"
    command = ["nasm", f"-i{source}/", "-fbin", "-w-all", "-ltest386.lst", "-o", str(rom)]
    try:
        done = subprocess.run(
            [*command, str(source / "test386.asm")],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise CheckoutError("nasm is not on the PATH: install it") from None
    if done.returncode:
        raise CheckoutError(done.stderr.strip())
    return rom


def run(rom: Path, checkout: Path) -> Run:
    """Run it; what it prints lies beside it. Raises CheckoutError without a reference."""
    try:
        reference = (checkout / _REFERENCE).read_bytes()
    except OSError as error:
        raise CheckoutError(f"{checkout} is no checkout of test386.asm: {error}") from None
    output = rom.with_suffix(".txt")
    options = ["--post-port", CONFIGURATION["POST_PORT"], "--output", str(output)]
    limit = ["--timeout", str(_TIMEOUT)]
    done = subprocess.run(
        [sys.executable, "-m", "vmm", "run", str(rom), *options, *limit, "--devices", "none"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=2 * _TIMEOUT,
        check=False,
    )
    codes = tuple(int(code, 16) for code in re.findall(r"(?m)^POST ([0-9A-F]{2})$", done.stderr))
    said = [line for line in done.stderr.splitlines() if not line.startswith("POST ")]
    return Run(done.returncode, codes, " ".join(said), output.read_bytes(), reference)


def _shown(line: bytes | None) -> str:
    return "missing" if line is None else repr(line.decode(errors="replace"))
