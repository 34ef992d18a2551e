"""The Modbus map of the ChargePost, interface v2.6."""
