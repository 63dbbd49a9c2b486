from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.spreadsheet_cells import FORMULA, guard, unguard


@given(st.one_of(st.text(max_size=8), st.sampled_from(FORMULA).map(lambda first: first + "1"), st.just("'a")))
def test_what_is_guarded_is_no_formula_and_comes_back(cell):
    assert not guard(cell).startswith(FORMULA)
    if not (cell.startswith("'") and cell[1:].startswith(FORMULA)):  # as somebody else has guarded it
        assert unguard(guard(cell)) == cell
