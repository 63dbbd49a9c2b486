"""What every room may use: errors, files, tables, paths, processes; nothing of the project is imported here."""
