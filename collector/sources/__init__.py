"""Values by line of source, and the source text they stand beside."""
