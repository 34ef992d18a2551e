"""A site in fast time: the plant, its controllers and how they compare."""
