"""Values of the bad-input catalogue that are wrong at either host, by the row they stand for; numbers as raw JSON."""

NOT_FINITE = ("NaN", "Infinity", "-Infinity")
"""N01"""
NUMBERS_AS_TEXT = ('"nan"', '"inf"', '"-inf"', '"1e3"', '"5"')
"""N02"""
TOO_LONG_NUMBERS = ("1e400", "-1e400", "9" * 400)
"""N03"""
NO_INSTANTS = (
    "2024-01-15T10:00:00-25:00",
    "2024-01-15T24:00:00Z",
    "2024-01-15T10:60:00Z",
    "2024-02-30T10:00:00Z",
    "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z",
)
"""T04"""
FAR_INSTANTS = ("0001-01-01T00:00:00Z", "1969-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
"""T05"""
WRONG_HOSTS = (
    ("elsewhere.example", 421),
    ("localhost.elsewhere.example:8443", 421),
    ("127.0.0.1.elsewhere.example", 421),
    ("a b", 400),
    ("localhost:port", 400),
    ("[::1", 400),
    ("x@localhost", 400),
)
"""Q11: none of our names, and no names at all"""
OUR_HOSTS = ("localhost", "LOCALHOST:8443", "127.0.0.1", "[::1]:8443", "localhost.")
"""Q11: with a port, in capitals, as addresses"""
