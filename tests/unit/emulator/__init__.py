"""The station as physics and firmware, without sockets."""
