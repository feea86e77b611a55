"""Debug information by build id, and the names that frames without one gain from it."""
