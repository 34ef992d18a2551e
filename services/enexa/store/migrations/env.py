"""Alembic's entry: run the migrations on the connection that the program hands over."""

from alembic import context

from services.enexa.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, transactional_ddl=True, transaction_per_migration=False
)
context.run_migrations()
