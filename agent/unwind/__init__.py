"""Unwinding of user stacks by tables: from `.eh_frame` to maps that bpf/unwind.h walks."""
