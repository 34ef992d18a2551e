"""One site's decisions: pure, so that a day of them takes seconds."""
