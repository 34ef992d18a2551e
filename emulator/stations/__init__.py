"""Station profiles that come with the product; a new station is a new TOML file."""
