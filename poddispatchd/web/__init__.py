"""The two HTTP listeners: the public webhook and the private ops pages."""
