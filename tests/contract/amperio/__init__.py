"""Amperio as a client and as a host of the contract, over real sockets."""
