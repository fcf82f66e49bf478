"""How things are drawn, whoever draws them: the sheet, its fonts and its colours."""
