"""What a person uses: the web UI and the `fleetprof` command."""
