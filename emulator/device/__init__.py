"""The ChargePost as firmware: registers, control, watchdog and faults around the physics."""
