"""The theory, claim by claim: a derivation (.md), and beside it the code that checks it (.py)."""
