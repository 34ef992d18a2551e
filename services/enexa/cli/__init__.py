"""What a person types: entry points that read files, call the pure engine and write results."""
