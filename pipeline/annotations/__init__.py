"""What people say of single pictures, in data/: decisions.csv, reports.csv and slices.csv."""
