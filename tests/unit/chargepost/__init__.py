"""The Modbus map and its codec."""
