"""Offers the collector debug files of what is sampled here, and sends those that it asks for."""
