"""The limits on untrusted files; a module of its own so that the decoding worker starts without pydantic."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LimitConfig:
    """What an untrusted file may cost before it is refused."""

    max_bytes: int = 200 * 2**20
    max_duration_s: float = 15 * 60
    max_pixels: int = 4096 * 2304
    """Width x height of the source picture."""
    decode_timeout_s: float = 60.0
    decode_memory_bytes: int = 3 * 2**30
