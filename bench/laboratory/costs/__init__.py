"""Cost tables: what an exit, a write fault, a wake take, in ns; virtual time is made of them."""

from bench.laboratory.costs.files import (
    as_toml,
    load_costs,
    load_preset,
    preset_names,
    write_preset,
)
from bench.laboratory.costs.table import COSTS, CostTable, Preset

__all__ = (
    "COSTS",
    "CostTable",
    "Preset",
    "as_toml",
    "load_costs",
    "load_preset",
    "preset_names",
    "write_preset",
)
