"""A real Modbus/TCP port, and four clients that others wrote."""
