"""Room 2. Exact entropy coding: symbols in, bytes out. numpy; constriction in `coder` alone. Spec 5
and 6."""

from obic.entropy.hyper_prior import HyperPrior
from obic.entropy.layer import EntropyModel, LayerCoder, hyper_cells
from obic.entropy.scale_map import ScaleMap
from obic.entropy.tables import (
    Tables,
    default_scales,
    gaussian_probabilities,
    gaussian_tables,
    tables_from_probabilities,
)

__all__ = [
    "EntropyModel",
    "HyperPrior",
    "LayerCoder",
    "ScaleMap",
    "Tables",
    "default_scales",
    "gaussian_probabilities",
    "gaussian_tables",
    "hyper_cells",
    "tables_from_probabilities",
]
