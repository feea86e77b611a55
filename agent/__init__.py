"""The agent: samples one host and ships symbolized stacks to a collector."""
