"""PostgreSQL: connections, named statements, the migrations of our own schema."""
