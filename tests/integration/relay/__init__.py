"""The fault relay on real sockets."""
