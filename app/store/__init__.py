"""What Kerf keeps: tables, the database, and one store per kind of thing."""
