"""The conformance kits against our own twins, which pass, and against broken ones, which fail where they are broken."""
