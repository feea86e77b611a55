"""The JSON API under /api/v1: one table of routes, which is also its documentation."""
