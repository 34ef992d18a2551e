"""Three real processes, started the way a person starts them."""
