"""What every room may use: errors, files, tables, paths, processes. Imports no other room."""
