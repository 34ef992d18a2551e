"""What Enexa asks of a real Amperio, from outside."""
