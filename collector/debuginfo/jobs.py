"""What the collector and its worker for debug information have to agree on."""

MAX_INLINED = 64
"""Functions at one address; of more the innermost are kept, and the one that holds them."""
MAX_ADDRESSES = 4000
"""Addresses in one look-up."""
MAX_ANSWER_BYTES = 16 << 20
NOT_CONFINED = 3
"""Exit code: the worker could not be confined and has read nothing."""
