"""The auditor: verifies an export or a live hub, trusting neither."""
