"""The collector: takes windows from agents, stores them in ClickHouse, and answers queries."""

import os

# gRPC reads this when it is imported. Its own lines on standard error would repeat, in its own words, what
# our log says: at each failed handshake one, without saying whose.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
