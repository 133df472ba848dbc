"""Control flow and functions with rules of their own: operations that carry programs, with a rule for every transformation."""
