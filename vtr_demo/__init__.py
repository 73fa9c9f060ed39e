"""Text-video retrieval that shows its reasons: MCSAN's four levels and S2CA's shared concepts."""

__version__ = "0.1.0"
