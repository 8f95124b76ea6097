"""Reading and serving what was recorded of a real Pod and its runner managers."""
