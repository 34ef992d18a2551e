"""One store behind one interface: SQLite by default, PostgreSQL where one machine is outgrown."""
