"""What is made from the code and kept beside it: ``python -m references`` writes all of it."""
