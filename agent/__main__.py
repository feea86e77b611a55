"""`python -m agent` is `fleetprof-agent`."""

import sys

from agent.cli import main

sys.exit(main())
