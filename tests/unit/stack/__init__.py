"""What the stack decides: options, restarts, credentials."""
