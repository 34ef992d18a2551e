"""The optimisation engine: a problem goes in, a schedule with its reasons comes out."""
