"""The emulator: a ChargePost made of physics, behind Modbus/TCP."""
