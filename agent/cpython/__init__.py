"""Python functions in stacks: which processes run CPython, where it keeps them, and what they are called."""
