"""Files of the world become our series, or a sentence that says what is wrong with them."""
