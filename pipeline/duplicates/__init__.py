"""From clusters of copies to what is learned from: labels settled, a report, an explanation."""
