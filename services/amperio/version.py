"""The version of this middleware, as health and firmware reports tell it."""

VERSION = "0.1.0"
