"""Texts of others in a csv that people open in a spreadsheet, which would run some of them as formulas."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet computes


def guard(cell: str) -> str:
    """Return a cell that no spreadsheet computes: a formula gets a ' before it, as OWASP advises."""
    return "'" + cell if cell.startswith(FORMULA) else cell


def unguard(cell: str) -> str:
    """Return what `guard` was given."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell
