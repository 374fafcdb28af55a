"""The national hub: intake, log, projection, routing."""
