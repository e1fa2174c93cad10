"""Distillation losses: plain functions, and the registered terms built on them.

The functions take tensors and work in any training loop; the terms are what ``--distill`` selects.
"""

# The order of these imports is the order of the terms in lists and in --help.
from .wavelet import WaveletLoss, wavelet_loss  # isort: skip
from .semantic_relation import SemanticRelationLoss, semantic_relation_loss  # isort: skip
from .pixel import PixelLoss, pixel_loss  # isort: skip
from .feature import FeatureLoss, feature_loss  # isort: skip
from .attention import AttentionLoss, attention_loss  # isort: skip
from .similarity import SimilarityLoss, similarity_loss  # isort: skip
from .kernel_alignment import KernelAlignmentLoss, kernel_alignment_loss  # isort: skip
from .gram import GramLoss, gram_loss  # isort: skip
from .ssim import SsimLoss, ssim_loss  # isort: skip
from .tv import TotalVariationLoss, total_variation_loss  # isort: skip
from .perceptual import PerceptualLoss, perceptual_loss  # isort: skip
from .discriminator import DiscriminatorLoss, discriminator_loss  # isort: skip
from .frequency import FrequencyLoss, frequency_loss  # isort: skip
from .registry import (
    NO_TERMS,
    Term,
    TermOption,
    WeightedTerm,
    build_terms,
    get_term,
    register,
    split_names,
    term_names,
)
from .schedule import Schedule
from .wavelet_transform import wavelet_decompose

__all__ = [
    "NO_TERMS",
    "AttentionLoss",
    "DiscriminatorLoss",
    "FeatureLoss",
    "FrequencyLoss",
    "GramLoss",
    "KernelAlignmentLoss",
    "PerceptualLoss",
    "PixelLoss",
    "Schedule",
    "SemanticRelationLoss",
    "SimilarityLoss",
    "SsimLoss",
    "Term",
    "TermOption",
    "TotalVariationLoss",
    "WaveletLoss",
    "WeightedTerm",
    "attention_loss",
    "build_terms",
    "discriminator_loss",
    "feature_loss",
    "frequency_loss",
    "get_term",
    "gram_loss",
    "kernel_alignment_loss",
    "perceptual_loss",
    "pixel_loss",
    "register",
    "semantic_relation_loss",
    "similarity_loss",
    "split_names",
    "ssim_loss",
    "term_names",
    "total_variation_loss",
    "wavelet_decompose",
    "wavelet_loss",
]
