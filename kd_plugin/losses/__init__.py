"""Distillation losses: plain functions, and the registered terms built on them.

The functions work on tensors alone and can be used in any training loop; the terms are what ``--distill``
names.
"""

from .pixel import PixelLoss, pixel_loss
from .registry import Term, TermOption, WeightedTerm, build_terms, get_term, register, split_names, term_names
from .semantic_relation import SemanticRelationLoss, semantic_relation_loss
from .wavelet import WaveletLoss, wavelet_decompose, wavelet_loss

__all__ = [
    "PixelLoss",
    "SemanticRelationLoss",
    "Term",
    "TermOption",
    "WaveletLoss",
    "WeightedTerm",
    "build_terms",
    "get_term",
    "pixel_loss",
    "register",
    "semantic_relation_loss",
    "split_names",
    "term_names",
    "wavelet_decompose",
    "wavelet_loss",
]
