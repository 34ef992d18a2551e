"""The emulator's port and physics against a libmodbus server in C, in one run on one machine."""
