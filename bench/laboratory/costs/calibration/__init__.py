"""What the emulator's own costs are on this host, in the terms of a cost table."""

from bench.laboratory.costs.calibration.fit import FITS, PROBES, Fit, Settings, fit, time_all
from bench.laboratory.costs.calibration.probe import Probe, Turn

__all__ = ("FITS", "PROBES", "Fit", "Probe", "Settings", "Turn", "fit", "time_all")
