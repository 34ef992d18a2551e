"""What Amperio asks of a real Enexa and of a real station, from outside."""
