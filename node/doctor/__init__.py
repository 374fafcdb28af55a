"""Doctor: what is wrong with a directory, its machine and its way to the hub, each with the next step.

Checks are functions of what they are handed; node/wiring/doctor.py gathers that.
"""
